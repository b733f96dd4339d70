"""Features that are to point where those of a teacher point."""

import jax
import jax.numpy as jnp

from trajvit.ops.masked import real_mean, real_pair
from trajvit.ops.unit import unit
from trajvit.types import Batch


def alignment(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """Minus the mean cosine of projected features with those of a teacher.

  Source: REPA, arXiv:2410.06940.

  Args:
    outputs: `aux.alignment.projected` and `target` [B, N, C] float, and `mask`
      [B, N] bool, if some are not real. The model projects its features and
      resizes them to the grid of the teacher, which gets no gradient.
    batch: `valid` [B], or None: invalid clips do not count.

  Returns:
    The loss [] in [-1, 1], and {"cosine": minus the loss}.

  Raises:
    ValueError: there are no such features, or they differ in shape.
  """
  found = outputs["aux"].get("alignment", {})
  if "projected" not in found or "target" not in found:
    raise ValueError(
      "alignment needs projected and target in aux.alignment, "
      f"which has {', '.join(sorted(found)) or 'nothing'}"
    )
  projected, target = found["projected"], found["target"]
  mask = found.get("mask")
  if mask is None:
    mask = jnp.ones(projected.shape[:2], bool)
  if batch.valid is not None:
    mask = mask & batch.valid[:, None]
  x, y = real_pair(projected, jax.lax.stop_gradient(target), mask)
  cosine = real_mean((unit(x) * unit(y)).sum(-1), mask)
  return -cosine, {"cosine": cosine}
