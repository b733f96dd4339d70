"""Rectified flow: straight paths from noise to data, and what follows them.

Source: Flow Straight and Fast, arXiv:2209.03003, with noise at sigma 1 and data
at sigma 0 as FlexTok (arXiv:2502.13967) has it: the path is
x(sigma) = sigma noise + (1 - sigma) clean, its velocity noise - clean.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

LAWS = ("uniform", "logit_normal", "mode")
SOLVERS = ("euler", "heun")


def interpolate(
  clean: jax.Array, noise: jax.Array, sigma: jax.Array
) -> jax.Array:
  """Returns the point of the path at `sigma`, of the shape of `clean`.

  Args:
    clean: [B, ...].
    noise: the same shape.
    sigma: [B], or more of the leading axes of `clean`, in [0, 1]; at 0 and at 1
      the result is the data and the noise exactly.
  """
  sigma = _along(sigma, clean)
  return sigma * noise + (1 - sigma) * clean


def true_velocity(clean: jax.Array, noise: jax.Array) -> jax.Array:
  """Returns the path's derivative by sigma, the same everywhere on it."""
  return noise - clean


def clean_estimate(
  x: jax.Array, velocity: jax.Array, sigma: jax.Array
) -> jax.Array:
  """Returns where a straight path through `x` ends: its data.

  Args:
    x: [B, ...], at `sigma`.
    velocity: the same shape.
    sigma: [B], or more of the leading axes of `x`.
  """
  return x - _along(sigma, x) * velocity


def sigma_of(
  u: jax.Array, *, law: str = "logit_normal", mode_scale: float = 1.29
) -> jax.Array:
  """Returns noise levels in [0, 1] for uniform numbers, monotonic in them.

  "uniform" is u itself, "logit_normal" the sigmoid of a standard normal number
  and "mode" 1 - u - s (cos^2(pi u / 2) - 1 + u), which prefers the middle for
  s > 0; both are of Stable Diffusion 3, arXiv:2403.03206.

  Args:
    u: of any shape, uniform in [0, 1).
    law: a name in LAWS.
    mode_scale: s of "mode", in [-1, 2 / (pi - 2)], where it is monotonic.

  Raises:
    ValueError: an unknown law, or a scale out of range.
  """
  if law not in LAWS:
    raise ValueError(f"law must be one of {', '.join(LAWS)}, got {law!r}")
  if law == "uniform":
    return u
  if law == "logit_normal":
    return jax.nn.sigmoid(jax.scipy.special.ndtri(u))
  highest = 2 / (np.pi - 2)
  if not -1 <= mode_scale <= highest:
    raise ValueError(
      f"mode_scale must be in [-1, {highest:.3f}], got {mode_scale}"
    )
  bend = jnp.square(jnp.cos(np.pi / 2 * u)) - 1 + u
  return 1 - u - mode_scale * bend


def stratify(u: jax.Array) -> jax.Array:
  """Returns [B] numbers, one in each of B equal parts of [0, 1].

  Args:
    u: [B], uniform in [0, 1): the place inside each part.
  """
  count = u.shape[0]
  return (jnp.arange(count) + u) / count


def descent(steps: int, *, shift: float = 1.0) -> np.ndarray:
  """Returns [steps + 1] float32, the levels of a sampler, from 1 down to 0.

  Args:
    steps: at least 1.
    shift: s in s u / (1 + (s - 1) u) for evenly spaced u; above 1 more steps
      are spent near the noise (arXiv:2403.03206). Positive.

  Raises:
    ValueError: no steps, or a shift that is not positive.
  """
  if steps < 1:
    raise ValueError(f"steps must be at least 1, got {steps}")
  if shift <= 0:
    raise ValueError(f"shift must be positive, got {shift}")
  even = np.arange(steps, -1, -1) / steps
  return (shift * even / (1 + (shift - 1) * even)).astype(np.float32)


def solve(
  velocity: Callable,
  x: jax.Array,
  sigmas: jax.Array,
  *,
  solver: str = "euler",
  state=None,
) -> jax.Array:
  """Returns x at the last of `sigmas`, having followed `velocity` to there.

  Args:
    velocity: `velocity(x, sigma)` with a scalar sigma, the derivative of x. If
      there is a state, `velocity(x, sigma, state) -> (derivative, state)`.
    x: at the first of `sigmas`, of any shape.
    sigmas: [n + 1], in the order they are gone through.
    solver: "euler", one velocity a step and an error of first order; "heun",
      the mean of the velocities at both ends of an Euler step, of second order.
    state: a pytree that every evaluation gets from the one before it, or None.

  Raises:
    ValueError: an unknown solver.
  """
  if solver not in SOLVERS:
    raise ValueError(
      f"solver must be one of {', '.join(SOLVERS)}, got {solver!r}"
    )

  def slope(x, sigma, state):
    if state is None:
      return velocity(x, sigma), None
    return velocity(x, sigma, state)

  def step(carry, ends):
    (x, state), (here, there) = carry, ends
    first, state = slope(x, here, state)
    arrived = x + (there - here) * first
    if solver == "heun":
      second, state = slope(arrived, there, state)
      arrived = x + (there - here) * (first + second) / 2
    return (arrived, state), None

  sigmas = jnp.asarray(sigmas)
  ends = sigmas[:-1], sigmas[1:]
  (x, _), _ = jax.lax.scan(step, (x, state), ends)
  return x


def _along(sigma, x):
  """`sigma` with axes of length 1 up to those of `x`."""
  return sigma.reshape(sigma.shape + (1,) * (x.ndim - sigma.ndim))
