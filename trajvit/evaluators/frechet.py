"""Fréchet and perceptual distance: how far made frames are from real ones."""

import contextlib
import functools
from collections.abc import Callable

import jax
import numpy as np

from trajvit.evaluators.made_frames import (
  check_budgets,
  made_and_true,
  real_frames,
  with_budget,
)
from trajvit.ops.frechet import FeatureSums, frechet_distance, split_distance
from trajvit.ops.perceptual import perceptual_distance
from trajvit.pixels import known_normalization

UNITS = ("clip", "frame")
# Of these on, both halves of the real features have a covariance.
FEWEST_CLIPS = 4


class FrechetDistance:
  """Distances in the features of a fixed network, at every budget of tokens.

  The Fréchet distance is one between sets, rFVD's of clips and rFID's of
  frames; the perceptual one is LPIPS's, between a frame and its original. Both
  papers have networks of their own, so that their numbers and these are not to
  be compared: these belong to the weights whose hash is in the manifest.
  Sources: FID, arXiv:1706.08500; FVD, arXiv:1812.01717; LPIPS,
  arXiv:1801.03924. Frames are rounded to 256 levels first.
  """

  def __init__(
    self,
    loader,
    *,
    features: str,
    load_features: Callable,
    unit: str = "clip",
    budgets: tuple[int, ...] = (),
    normalization: str = "symmetric",
  ):
    """Loads the network; no clip is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo).
      features: directory of the run that trained the network.
      load_features: `load_features(features)` returns the network, with
        `apply(variables, pixels, mask) -> (maps, pooled)`, its `variables`, and
        `weight_hash`; see `training.feature_network`.
      unit: what has a feature, "clip" or "frame".
      budgets: numbers of first tokens, of every step of a clip; none is all
        tokens alone.
      normalization: of the model, a name in NORMALIZATIONS.

    Raises:
      ValueError: an unknown unit or normalization, a budget below 1, or
        `features` is a run of another model.
      FileNotFoundError: no such run, or one without a checkpoint.
    """
    if unit not in UNITS:
      raise ValueError(f"unit must be one of {', '.join(UNITS)}, got {unit!r}")
    self.loader, self.unit = loader, unit
    self.budgets = check_budgets(budgets)
    self.normalization = known_normalization(normalization)
    self.network = load_features(features)
    self.manifest = {"features_sha256": self.network.weight_hash}

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `frames` and `target_frames`
        [B, T, H, W, 3] in the model's normalised space. Compiled once for every
        `predict`, so hand in the same one again.
      variables: of the model.

    Returns:
      frechet: squared distance of the features of made and of real units, with
        all tokens.
      perceptual: mean over frames of the distance to the original.
      <each of them>@<k>: with the first k tokens of a step.
      real_floor: `frechet` of two halves of the real clips.
      frechet_imaginary: the largest part that rounding may have in any of them,
        see `ops.frechet.Frechet`.
      n_evaluated: clips that took part; n_frames, of them; n_missing: clips
        that could not be read.

    Raises:
      ValueError: fewer than four clips; a model that makes no whole frames.
      FloatingPointError: the features of made frames are not finite.
    """
    sums, apart = {}, dict.fromkeys((None, *self.budgets), 0.0)
    real, owners, seen, frames, missing = [], [], 0, 0, 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        missing += len(info.skipped)
        mask = np.asarray(real_frames(batch))
        frames += int(mask.sum())
        owner = seen + np.arange(len(mask))
        seen += len(mask)
        if self.unit == "frame":
          owner = owner.repeat(mask.shape[1])
          mask = mask.reshape(-1, 1)
        there = mask.any(1)
        owners.append(owner[there])
        truth = None
        for budget in apart:
          made, true = _frames(
            predict,
            self.normalization,
            self.unit,
            variables,
            with_budget(batch, budget),
          )
          if truth is None:
            truth, pooled = self._features(true, mask)
            real.append(np.asarray(pooled)[there])
          maps, pooled = self._features(made, mask)
          distance = float(_distance(maps, truth, mask))
          if not np.isfinite(distance):
            raise FloatingPointError(
              f"features of frames made from {budget or 'all'} tokens are not "
              "finite"
            )
          apart[budget] += distance
          part = FeatureSums.of(pooled, there)
          sums[budget] = sums[budget] + part if budget in sums else part
    clips = len(np.unique(np.concatenate(owners))) if owners else 0
    if clips < FEWEST_CLIPS:
      raise ValueError(
        f"a Fréchet distance needs at least {FEWEST_CLIPS} clips, the loader "
        f"has {clips}"
      )
    real = np.concatenate(real)
    truth = FeatureSums.of(real)
    found = {
      budget: frechet_distance(part, truth) for budget, part in sums.items()
    }
    floor = split_distance(real, groups=np.concatenate(owners))
    metrics = {}
    for budget, one in found.items():
      at = "" if budget is None else f"@{budget}"
      metrics[f"frechet{at}"] = one.distance
      metrics[f"perceptual{at}"] = apart[budget] / frames
    return metrics | {
      "real_floor": floor.distance,
      "frechet_imaginary": max(
        one.imaginary for one in (floor, *found.values())
      ),
      "n_evaluated": float(clips),
      "n_frames": float(frames),
      "n_missing": float(missing),
    }

  def _features(self, pixels, mask):
    """Maps of every layer, and the pooled features [n, C], of n units."""
    network = self.network
    return _apply(network.apply, network.variables, pixels, mask)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _frames(predict, normalization, unit, variables, batch):
  """Made and true frames [n, t, H, W, 3], of n units of t frames."""
  pair = made_and_true(predict(variables, batch), normalization)
  if unit == "clip":
    return pair
  return [x.reshape(-1, 1, *x.shape[2:]) for x in pair]


@functools.partial(jax.jit, static_argnums=0)
def _apply(apply, variables, pixels, mask):
  return apply(variables, pixels, mask)


@jax.jit
def _distance(made, true, mask):
  """The sum over real frames."""
  return perceptual_distance(made, true, mask=mask).sum()
