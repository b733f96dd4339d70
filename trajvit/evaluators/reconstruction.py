"""Reconstruction: how well frames come back from so many tokens."""

import contextlib
import functools
import math

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
from trajvit.ops.codebook_usage import codebook_statistics
from trajvit.ops.image_quality import psnr
from trajvit.ops.ssim import ssim
from trajvit.pixels import known_normalization


class Reconstruction:
  """PSNR and SSIM at every budget of nested tokens, and the use of the codes.

  Frames are brought back to pixels, cut to [0, 1] and rounded to 256 levels
  first, as they would be stored. Both metrics are means over frames.
  """

  def __init__(
    self,
    loader,
    *,
    budgets: tuple[int, ...] = (),
    normalization: str = "symmetric",
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo).
      budgets: numbers of first tokens, of every step of a clip; none is all
        tokens alone.
      normalization: of the model, a name in NORMALIZATIONS.

    Raises:
      ValueError: a budget below 1, or an unknown normalization.
    """
    self.loader, self.budgets = loader, check_budgets(budgets)
    self.normalization = known_normalization(normalization)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `frames` and `target_frames`
        [B, T, H, W, 3] in the model's normalised space, `tokens`, and of
        discrete codes `aux.quantizer` with `indices` and `sizes`. Compiled once
        for every `predict`, so hand in the same one again.
      variables: of the model.

    Returns:
      PSNR_dB, SSIM: with all tokens, in dB and up to 1.
      tokens: that the decoder reads, a clip.
      bits_per_pixel: what their codes hold, over real frames; absent for codes
        that are continuous.
      <each of them>@<k>: with the first k tokens of a step.
      rising_%: of the steps from a budget to the next, those at which the PSNR
        rises; with at least two budgets.
      codebook_<statistic>: see `ops.codebook_usage.codebook_statistics`, the
        mean over the indices of a token, of all tokens.
      n_evaluated: clips that took part; n_frames, of them; n_missing: clips
        that could not be read.

    Raises:
      ValueError: no clip; a model whose decoder makes no whole frames.
      FloatingPointError: a made frame is not finite.
    """
    sums = {budget: np.zeros(4) for budget in (None, *self.budgets)}
    counts, sizes, pixels, missing, clips = None, (), 0, 0, 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        missing += len(info.skipped)
        clips += int(valid_clips(batch).sum())
        pixels = batch.clip.frames.shape[2] * batch.clip.frames.shape[3]
        for budget, total in sums.items():
          found, codes = jax.device_get(
            _measure(
              predict,
              self.normalization,
              variables,
              with_budget(batch, budget),
            )
          )
          if not np.isfinite(found).all():
            raise FloatingPointError(
              f"frames made from {budget or 'all'} tokens are not finite"
            )
          total += found
          if budget is None and codes is not None:
            sizes = tuple(int(size) for size in codes["sizes"])
            counts = _counted(counts, codes["indices"], sizes)
    if not clips:
      raise ValueError("reconstruction needs a clip, the loader has none")
    metrics = {}
    for budget, total in sums.items():
      at = "" if budget is None else f"@{budget}"
      named = _means(total, clips, pixels, sizes)
      metrics |= {f"{name}{at}": value for name, value in named.items()}
    if len(self.budgets) > 1:
      curve = [metrics[f"PSNR_dB@{k}"] for k in sorted(self.budgets)]
      metrics["rising_%"] = 100.0 * float((np.diff(curve) > 0).mean())
    return (
      metrics
      | _usage(counts)
      | {
        "n_evaluated": float(clips),
        "n_frames": float(sums[None][2]),
        "n_missing": float(missing),
      }
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(predict, normalization, variables, batch):
  """Sums of PSNR, SSIM, frames and tokens [4], and the codes or None."""
  outputs = predict(variables, batch)
  made, true = made_and_true(outputs, normalization)
  mask = real_frames(batch)
  valid = jnp.ones(len(mask), bool) if batch.valid is None else batch.valid
  found = jnp.stack(
    [
      psnr(made, true, mask=mask).sum(),
      ssim(made, true, mask=mask).sum(),
      mask.sum().astype(jnp.float32),
      (outputs["tokens"].mask.sum(1) * valid).sum().astype(jnp.float32),
    ]
  )
  codes = outputs["aux"].get("quantizer", {})
  if "indices" not in codes:
    return found, None
  indices = jnp.where(valid[:, None, None], codes["indices"], -1)
  return found, {"indices": indices, "sizes": codes["sizes"]}


def _counted(counts, indices, sizes):
  """Adds the codes of indices [B, N, G] to counts, an array a group."""
  counts = counts or [np.zeros(size, np.int64) for size in sizes]
  for group, count in enumerate(counts):
    found = indices[..., group]
    count += np.bincount(found[found >= 0], minlength=len(count))
  return counts


def _means(total, clips, pixels, sizes):
  """What sums over clips come to.

  Args:
    total: see `_measure`.
    clips: how many.
    pixels: of a frame.
    sizes: of the codebooks, () for continuous codes.
  """
  psnr_sum, ssim_sum, frames, tokens = map(float, total)
  means = {
    "PSNR_dB": psnr_sum / max(frames, 1),
    "SSIM": ssim_sum / max(frames, 1),
    "tokens": tokens / clips,
  }
  if sizes:
    bits = tokens * sum(map(math.log2, sizes))
    means["bits_per_pixel"] = bits / max(frames * pixels, 1)
  return means


def _usage(counts):
  """Statistics of the codes, means over the indices of a token."""
  if not counts:
    return {}
  found = [codebook_statistics(count) for count in counts]
  return {
    f"codebook_{name}": float(np.mean([one[name] for one in found]))
    for name in found[0]
  }
