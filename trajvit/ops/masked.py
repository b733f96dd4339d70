"""Reading only what is real, in arrays whose leading axes have a mask."""

import jax
import jax.numpy as jnp


def only_real(x: jax.Array, mask: jax.Array | None) -> jax.Array:
  """Returns `x` with zeros where `mask` is False; None masks nothing.

  To be called before anything is computed of `x`: a NaN in what is masked then
  reaches neither values nor gradients.

  Args:
    x: [..., *].
    mask: [...] bool, over the leading axes of `x`.

  Raises:
    ValueError: the mask is not of the leading axes.
  """
  if mask is None:
    return x
  if mask.shape != x.shape[: mask.ndim]:
    raise ValueError(
      f"mask must have the leading axes of {x.shape}, got {mask.shape}"
    )
  return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim)), x, 0)


def real_mean(x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
  """Returns the mean [] float32 of the entries that are real, 0 without any.

  Args:
    x: [..., *].
    mask: [...] bool, over the leading axes of `x`; None: all are real.

  Raises:
    ValueError: the mask is not of the leading axes.
  """
  total = only_real(x.astype(jnp.float32), mask).sum()
  if mask is None:
    return total / max(x.size, 1)
  each = x.size // max(mask.size, 1)
  return total / jnp.maximum(mask.sum() * each, 1)


def real_pair(
  x: jax.Array, y: jax.Array, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
  """Returns two arrays that are to be compared, float32, zeros where masked.

  Args:
    x: [..., *] of any dtype.
    y: likewise.
    mask: [...] bool, over their leading axes, or None.

  Raises:
    ValueError: they differ in shape, or the mask is not of the leading axes.
  """
  if x.shape != y.shape:
    raise ValueError(
      f"what is compared must have one shape, got {x.shape} and {y.shape}"
    )
  x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
  return only_real(x, mask), only_real(y, mask)
