"""First frames of a clip that a flow is shown, almost without noise."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def draw_prefix(
  keys: jax.Array,
  frames: int,
  lengths: Sequence[int],
  probabilities: Sequence[float],
  *,
  most: float = 0.02,
) -> tuple[jax.Array, jax.Array]:
  """Returns which frames of each clip are shown, and at which noise level.

  Source: VideoFlexTok. Half of the clips are shown theirs without noise, so
  that a clip can be continued; a little noise in the others makes up for the
  errors of frames that were themselves made.

  Args:
    keys: [B] typed keys.
    frames: T.
    lengths: how many frames may be shown, each in [0, T].
    probabilities: of each length, summing to 1.
    most: the noise level is 0, or uniform in [0, most].

  Returns:
    [B, T] bool, True = shown, and [B] float32.
  """
  edges = np.cumsum(probabilities)[:-1].astype(np.float32)

  def draw(key):
    u = jax.random.uniform(key, (3,))
    length = jnp.asarray(lengths)[(u[0] >= edges).sum()]
    return jnp.arange(frames) < length, jnp.where(u[1] < 0.5, most * u[2], 0)

  return jax.vmap(draw)(keys)


def check_prefix(
  lengths: Sequence[int],
  probabilities: Sequence[float],
  *,
  frames: int,
  step: int = 1,
) -> None:
  """Raises ValueError for prefixes that cannot be drawn.

  Args:
    lengths: in frames.
    probabilities: of each.
    frames: T.
    step: frames of a patch, which are shown together.
  """
  if any(n % step or not 0 <= n <= frames for n in lengths):
    raise ValueError(
      f"prefix lengths must be multiples of {step} in [0, {frames}], "
      f"got {tuple(lengths)}"
    )
  fits = len(lengths) == len(probabilities) and min(probabilities) >= 0
  if not fits or abs(sum(probabilities) - 1) > 1e-6:
    raise ValueError(
      f"prefix probabilities must be {len(lengths)} and sum to 1, "
      f"got {tuple(probabilities)}"
    )
