"""What every quantizer is."""

import math

import jax
import jax.numpy as jnp
from flax import nnx


class Quantizer(nnx.Module):
  """Vectors -> codes, the bottleneck of an autoencoder.

  Losses come weighted as their paper weights them among each other; the
  trainer has one weight for all. Everything is float32 inside.

  Attributes:
    dim: width of what is quantized.
    code_dim: width of the codes, mostly `dim`.
    sizes: how many codes each index of a token chooses from; () where the
      codes are continuous.

  Args:
    dim: as above.
    code_dim: as above, None for `dim`.
    sizes: as above.
  """

  def __init__(
    self,
    *,
    dim: int,
    code_dim: int | None = None,
    sizes: tuple[int, ...] = (),
  ):
    if dim < 1:
      raise ValueError(f"dim must be at least 1, got {dim}")
    self.dim = dim
    self.code_dim = dim if code_dim is None else code_dim
    self.sizes = sizes

  @property
  def bits(self) -> float | None:
    """What the indices of one token hold; None for continuous codes."""
    if not self.sizes:
      return None
    return sum(math.log2(size) for size in self.sizes)

  def __call__(
    self, z: jax.Array, mask: jax.Array, *, key=None
  ) -> tuple[jax.Array, dict]:
    """Returns the codes of vectors, and aux.

    Args:
      z: [..., dim] float; what fills masked slots is not read.
      mask: [...] bool, True = real token.
      key: given in training.

    Returns:
      codes: [..., code_dim] in the dtype of `z`, zeros where masked. A rounded
        code has the gradient of what was rounded.
      aux: `indices` [..., G] int32 in [0, sizes[g]), -1 where masked, absent
        for continuous codes; `losses` {name: scalar}, means over real tokens;
        `metrics` {name: scalar}; `batch_stats` in training, where there are.

    Raises:
      ValueError: `z` and `mask` do not fit `dim` or each other.
    """
    raise NotImplementedError

  def decode_indices(self, indices: jax.Array) -> jax.Array:
    """Returns the codes [..., code_dim] float32 of indices [..., G] int32.

    At inference they equal, bit for bit, those that came with the indices. An
    index of -1 gives zeros.

    Raises:
      ValueError: the codes are continuous, or G is not the number of indices.
    """
    self._check_indices(indices)
    raise NotImplementedError

  def _check_indices(self, indices):
    if not self.sizes:
      raise ValueError(
        f"{type(self).__name__} is continuous: it has no indices"
      )
    if indices.shape[-1] != len(self.sizes):
      raise ValueError(
        f"indices must be [..., {len(self.sizes)}], got {indices.shape}"
      )

  def _read(self, z, mask):
    """`z` in float32 with zeros where masked."""
    if z.shape != (*mask.shape, self.dim):
      raise ValueError(
        f"z must be {(*mask.shape, self.dim)}, as its mask and dim say, got "
        f"{z.shape}"
      )
    return jnp.where(mask[..., None], z.astype(jnp.float32), 0)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
  """Returns the mean [] over real tokens; 0 if there is none.

  Args:
    x: [...] float32, finite also where masked.
    mask: [...] bool. Under jit with a sharded batch, the mean over all of it.
  """
  return jnp.where(mask, x, 0).sum() / jnp.maximum(mask.sum(), 1)
