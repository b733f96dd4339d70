"""Guidance: away from what would be made without the condition.

With v_c and v_u the velocities with and without the condition, and a scale g;
g = 1 is no guidance, and callers then need no v_u at all.
"""

import jax
import jax.numpy as jnp


def classifier_free(
  conditional: jax.Array, unconditional: jax.Array, scale: float
) -> jax.Array:
  """Returns v_u + g (v_c - v_u).

  Source: arXiv:2207.12598.
  """
  return unconditional + scale * (conditional - unconditional)


def adaptive_projected(
  conditional: jax.Array,
  unconditional: jax.Array,
  scale: float,
  average: jax.Array,
  *,
  momentum: float = -0.5,
  radius: float = 2.5,
  parallel: float = 0.0,
  axes: tuple[int, ...] | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns v_c + (g - 1) (orthogonal + eta * parallel part of the difference).

  Source: APG, arXiv:2410.02416. The difference v_c - v_u is averaged over steps
  and cut to a length; what of it points along v_c, which saturates colours, is
  weighed by eta. Without momentum and radius and with eta = 1 it is
  `classifier_free`. All of it is in float32, where the original projects in
  float64, which TPUs do not have.

  Args:
    conditional: v_c, [B, ...].
    unconditional: v_u.
    scale: g.
    average: of the steps before, zeros at the first.
    momentum: weight of `average`; negative pushes away from it.
    radius: greatest length of the difference; 0 leaves it as it is.
    parallel: eta.
    axes: those that lengths and products sum over; None is all but the first.
      VideoFlexTok's settings are for each channel: all but first and last.

  Returns:
    The velocity and the new average, both float32.
  """
  if axes is None:
    axes = tuple(range(1, conditional.ndim))
  conditional = conditional.astype(jnp.float32)
  average = conditional - unconditional + momentum * average
  difference = average
  if radius > 0:
    length = _length(difference, axes)
    difference = difference * (radius / jnp.maximum(length, radius))
  length = _length(conditional, axes)
  unit = conditional / jnp.where(length > 0, length, 1)
  along = (difference * unit).sum(axes, keepdims=True) * unit
  kept = difference - along + parallel * along
  return conditional + (scale - 1) * kept, average


def _length(x, axes):
  return jnp.sqrt(jnp.square(x).sum(axes, keepdims=True))
