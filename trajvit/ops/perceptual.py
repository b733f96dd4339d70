"""How far frames are from others in the features of a fixed network.

Both functions take feature maps, as a network's `features(frames)` returns
them, one [..., h, w, C] for each of its layers: the network belongs to a model,
which computes them once for all losses.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.ops.masked import real_pair

# Below this length a feature is not made a unit vector: it bounds the gradient.
SHORTEST = 1e-5


def perceptual_distance(
  x: Sequence[jax.Array],
  y: Sequence[jax.Array],
  *,
  weights: Sequence[jax.Array] | None = None,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns how far the features of each frame are from those of another.

  The sum over layers of the mean over cells of sum_c w_c (u_c - v_c)^2, u and v
  the features of a cell scaled to norm 1. Source: LPIPS, arXiv:1801.03924;
  without `weights` all w are 1, which the paper calls the network's own
  distance. u = x / sqrt(|x|^2 + 1e-10), where LPIPS divides by |x| + 1e-10: a
  feature of zeros has a gradient then.

  Args:
    x: maps [..., h, w, C] of any float dtype, one a layer.
    y: likewise.
    weights: [C] for each layer, not negative, such as LPIPS's learned ones.
    mask: [...] bool, True = real frame; None: all are.

  Returns:
    [...] float32; 0 for equal features and in masked frames.

  Raises:
    ValueError: layers differ in number or shape, or there is none.
  """
  _check_layers(x, y)
  weights = [None] * len(x) if weights is None else weights
  if len(weights) != len(x):
    raise ValueError(
      f"weights must have an entry for each of {len(x)} layers, "
      f"got {len(weights)}"
    )
  total = 0.0
  for one, other, weight in zip(x, y, weights, strict=True):
    one, other = real_pair(one, other, mask)
    off = jnp.square(_direction(one) - _direction(other))  # [..., h, w, C]
    if weight is not None:
      if weight.shape != off.shape[-1:]:
        raise ValueError(
          f"weights of a layer must be {off.shape[-1:]}, got {weight.shape}"
        )
      off = off * weight
    total += off.sum(-1).mean((-2, -1))
  return total


def gram_distance(
  x: Sequence[jax.Array],
  y: Sequence[jax.Array],
  *,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns how far the textures of each frame are from those of another.

  The sum over layers of the mean over pairs of channels of (G - G')^2, with
  G = F^T F / (h w) the Gram matrix of a layer's features F [h w, C]. It knows
  which features occur together, and not where. Source: arXiv:1508.06576, whose
  factors of size are these means.

  Args:
    x: maps [..., h, w, C] of any float dtype, one a layer.
    y: likewise.
    mask: [...] bool, True = real frame; None: all are.

  Returns:
    [...] float32; 0 for equal features and in masked frames.

  Raises:
    ValueError: layers differ in number or shape, or there is none.
  """
  _check_layers(x, y)
  total = 0.0
  for one, other in zip(x, y, strict=True):
    one, other = real_pair(one, other, mask)
    total += jnp.square(_gram(one) - _gram(other)).mean((-2, -1))
  return total


def _check_layers(x: Sequence[jax.Array], y: Sequence[jax.Array]) -> None:
  """Raises ValueError unless there are as many layers in `x` as in `y`."""
  if not len(x) or len(x) != len(y):
    raise ValueError(
      f"features must be of one and the same layers, got {len(x)} and {len(y)}"
    )


def _direction(x):
  square = jnp.square(x).sum(-1, keepdims=True)
  return x * jax.lax.rsqrt(square + SHORTEST**2)


def _gram(x):
  highest = jax.lax.Precision.HIGHEST
  gram = jnp.einsum("...hwc,...hwd->...cd", x, x, precision=highest)
  return gram / (x.shape[-3] * x.shape[-2])
