"""Codes that those in front of them are to tell."""

import math

import jax

from trajvit.ops.masked import real_mean
from trajvit.types import Batch


def prior(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """The cross-entropy of a prior that guesses codes, see `models.prior`.

  Source: LARP, arXiv:2410.21264, which weighs it by 0.06.

  Args:
    outputs: `aux.prior`, in training, with `nll` [B, N] float32, `correct` and
      `mask` [B, N] bool.
    batch: `valid` [B], or None: invalid clips do not count.

  Returns:
    The loss [] in nats a code, and {"bits": the same in bits; "correct": share
    of codes that are guessed}.

  Raises:
    ValueError: there is no prior.
  """
  if "prior" not in outputs["aux"]:
    raise ValueError(
      "prior needs a reconstruction with a prior, in training: aux has "
      f"{', '.join(sorted(outputs['aux'])) or 'nothing'}"
    )
  found = outputs["aux"]["prior"]
  mask = found["mask"]
  if batch.valid is not None:
    mask = mask & batch.valid[:, None]
  loss = real_mean(found["nll"], mask)
  correct = real_mean(found["correct"].astype(found["nll"].dtype), mask)
  return loss, {"bits": loss / math.log(2), "correct": correct}
