"""Adaptive length: how few tokens do, clip by clip."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.evaluators.made_frames import (
  check_budgets,
  made_and_true,
  real_frames,
  valid_clips,
  with_budget,
)
from trajvit.ops.image_quality import psnr
from trajvit.pixels import known_normalization


class AdaptiveLength:
  """Lets each clip stop at the first budget at which its frames are good.

  A clip's criterion is the mean absolute error of its own frames. Source: ALIT,
  arXiv:2411.02393, whose code takes the mean over the batch.
  """

  def __init__(
    self,
    loader,
    *,
    budgets: tuple[int, ...],
    thresholds: tuple[float, ...] = (0.07,),
    normalization: str = "symmetric",
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo).
      budgets: numbers of first tokens of a step, rising. A clip that is not
        good at the last one takes that.
      thresholds: of the mean absolute error, of pixels in [0, 1].
      normalization: of the model, a name in NORMALIZATIONS.

    Raises:
      ValueError: no budget, or they do not rise from 1 on; no threshold; an
        unknown normalization.
    """
    self.loader, self.budgets = loader, check_budgets(budgets)
    if not budgets or list(budgets) != sorted(set(budgets)):
      raise ValueError(f"budgets must rise, got {self.budgets}")
    if not thresholds:
      raise ValueError("adaptive_length needs a threshold, got none")
    self.thresholds = tuple(thresholds)
    self.normalization = known_normalization(normalization)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: see `evaluators.reconstruction`.
      variables: of the model.

    Returns:
      tokens@<threshold>: that a clip takes, the mean.
      PSNR_dB@<threshold>: the mean over clips of that at their budget, which is
        the mean over frames.
      good_%@<threshold>: of the clips that are good at some budget.
      n_evaluated: clips that took part; n_missing: that could not be read.

    Raises:
      ValueError: no clip; a model whose decoder makes no whole frames.
      FloatingPointError: a made frame is not finite.
    """
    found, missing = [], 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        missing += len(info.skipped)
        at = [
          _measure(
            predict, self.normalization, variables, with_budget(batch, budget)
          )
          for budget in self.budgets
        ]
        clips = np.stack(jax.device_get(at))  # [budgets, 3, B]
        found.append(clips[:, :, valid_clips(batch)])
    found = np.concatenate(found, axis=-1) if found else np.zeros((1, 3, 0))
    if not found.shape[-1]:
      raise ValueError("adaptive_length needs a clip, the loader has none")
    if not np.isfinite(found).all():
      raise FloatingPointError("frames made at some budget are not finite")
    metrics = {}
    for threshold in self.thresholds:
      named = _stopped(found, threshold)
      metrics |= {f"{name}@{threshold}": x for name, x in named.items()}
    return metrics | {
      "n_evaluated": float(found.shape[-1]),
      "n_missing": float(missing),
    }


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(predict, normalization, variables, batch):
  """Mean absolute error, PSNR and tokens of every clip, [3, B]."""
  outputs = predict(variables, batch)
  made, true = made_and_true(outputs, normalization)
  mask = real_frames(batch)
  count = jnp.maximum(mask.sum(1), 1)
  off = jnp.abs(made - true).mean((2, 3, 4))  # [B, T]
  return jnp.stack(
    [
      jnp.where(mask, off, 0).sum(1) / count,
      psnr(made, true, mask=mask).sum(1) / count,
      outputs["tokens"].mask.sum(1).astype(jnp.float32),
    ]
  )


def _stopped(found, threshold):
  """Means over clips that stop at the first budget whose error is below.

  Args:
    found: [budgets, 3, B], see `_measure`.
    threshold: of the error.
  """
  good = found[:, 0] < threshold  # [budgets, B]
  first = np.where(good.any(0), good.argmax(0), len(found) - 1)
  taken = np.take_along_axis(found, first[None, None], axis=0)[0]  # [3, B]
  return {
    "tokens": float(taken[2].mean()),
    "PSNR_dB": float(taken[1].mean()),
    "good_%": 100.0 * float(good.any(0).mean()),
  }
