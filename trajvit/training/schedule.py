"""Learning rate schedules: step -> learning rate."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def warmup_cosine(
  peak: float, *, warmup_steps: int, total_steps: int, floor: float
) -> Callable[[jax.Array], jax.Array]:
  """Returns linear warm-up from 0 and a cosine decay to 0, kept off the floor.

  The floor clamps the curve and does not rescale it (TrajViT,
  arXiv:2505.23617): with s the step, W of warm-up and N in all,

    peak * max(floor, s / W)                            for s < W,
    peak * max(floor, (1 + cos(pi (s - W) / (N - W))) / 2)  from there on.

  Args:
    peak: largest learning rate.
    warmup_steps: W, in [0, total_steps).
    total_steps: N.
    floor: smallest multiple of `peak`, in [0, 1].

  Raises:
    ValueError: an argument out of its range.
  """
  if not 0 <= warmup_steps < total_steps:
    raise ValueError(
      f"warmup_steps must be in [0, total_steps = {total_steps}), "
      f"got {warmup_steps}"
    )
  if not 0 <= floor <= 1:
    raise ValueError(f"floor must be in [0, 1], got {floor}")

  def schedule(step: jax.Array) -> jax.Array:
    step = jnp.asarray(step, jnp.float32)
    rise = step / max(warmup_steps, 1)
    done = (step - warmup_steps) / (total_steps - warmup_steps)
    fall = (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1))) / 2
    return peak * jnp.maximum(floor, jnp.where(done < 0, rise, fall))

  return schedule
