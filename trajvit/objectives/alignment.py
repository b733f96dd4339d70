"""Features that are to point where those of a teacher point."""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.masked import real_mean, real_pair
from trajvit.ops.unit import unit
from trajvit.types import Batch

# How much a clip counts of whose tokens the share s lies in front of the last
# that was kept; the first token alone has s = 0.
SCHEDULES = {
  "const": jnp.ones_like,
  "linear": lambda s: 1 - s,
  "cosine": lambda s: (1 + jnp.cos(np.pi * s)) / 2,
}


def alignment(
  outputs: dict, batch: Batch, *, schedule: str = "const"
) -> tuple[jax.Array, dict]:
  """Minus the mean cosine of projected features with those of a teacher.

  Source: REPA, arXiv:2410.06940; of the schedule ReToK, arXiv:2601.01535, whose
  abstract has the weight fall towards the tail. How, is our choice.

  Args:
    outputs: `aux.alignment.projected` and `target` [B, N, C] float, and `mask`
      [B, N] bool, if some are not real. The model projects its features and
      resizes them to the grid of the teacher, which gets no gradient. Other
      schedules than "const" read `kept` [B, N] bool beside them: of N nested
      tokens, the decoder read the first k of a clip.
    batch: `valid` [B], or None: invalid clips do not count.
    schedule: of a clip's weight, by s = (k - 1) / N: "const", 1; "linear",
      1 - s; "cosine", (1 + cos(pi s)) / 2.

  Returns:
    The loss [] in [-1, 1], and {"cosine": the mean one, without weights}.

  Raises:
    ValueError: there are no such features, or they differ in shape; an unknown
      schedule.
  """
  if schedule not in SCHEDULES:
    raise ValueError(
      f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}"
    )
  found = outputs["aux"].get("alignment", {})
  needed = ["projected", "target"] + ["kept"] * (schedule != "const")
  if not found.keys() >= set(needed):
    raise ValueError(
      f"alignment needs {', '.join(needed)} in aux.alignment, "
      f"which has {', '.join(sorted(found)) or 'nothing'}"
    )
  projected, target = found["projected"], found["target"]
  mask = found.get("mask")
  if mask is None:
    mask = jnp.ones(projected.shape[:2], bool)
  if batch.valid is not None:
    mask = mask & batch.valid[:, None]
  x, y = real_pair(projected, jax.lax.stop_gradient(target), mask)
  cosines = (unit(x) * unit(y)).sum(-1)
  cosine = real_mean(cosines, mask)
  if schedule == "const":
    return -cosine, {"cosine": cosine}
  kept = found["kept"]  # [B, N]
  share = jnp.maximum(kept.sum(1) - 1, 0) / kept.shape[1]
  weights = SCHEDULES[schedule](share)[:, None]
  return -real_mean(weights * cosines, mask), {"cosine": cosine}
