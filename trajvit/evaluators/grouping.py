"""Grouping: whether a model's tokens follow the objects of a clip."""

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Sequence

import jax
import numpy as np

from trajvit.evaluators.region_quality import contour_accuracy, match_objects
from trajvit.evaluators.tubes import (
  MODES,
  Overlaps,
  overlaps,
  score_overlaps,
  to_grid,
)
from trajvit.types import Batch

_SCORES = {"VEQ": "veq", "SQ": "sq", "RQ": "rq", "STQ_EN": "stq_en"}


class Grouping:
  """VEQ, STQ_EN, J&F and coverage of the regions that a model groups.

  The truth is the tracks of the loader's clips, which the model does not get to
  see. It is measured on its grid, `data.clip.track_grid`; the released protocol
  has the pixels of the video there, so make it as fine as the frames.
  """

  def __init__(self, loader, *, modes: Sequence[str] = MODES):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo), clips with tracks.
      modes: ways of counting tubes, of `tubes.MODES`, which says what they are.

    Raises:
      ValueError: an unknown mode.
    """
    _check_modes(modes)
    self.loader, self.modes = loader, tuple(modes)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs`, with `assignment` [B, T, h, w]
        integers in `outputs["aux"]["tokenizer"]`: the token that owns a cell,
        or -1 for none. It gets neither text nor tracks, nor a layout made of
        them, and is compiled once.
      variables: of the model.

    Returns:
      What `grouping_metrics` does, and
      n_missing: clips that could not be read.
      n_dropped_tracks: objects beyond the loader's `max_tracks`, which are no
        part of the truth.

    Raises:
      ValueError: no clip has an object, there are no tracks, or the model
        gives no assignment, or one that does not go with them.
    """
    counts = collections.Counter(n_missing=0, n_dropped_tracks=0)
    with contextlib.closing(self._pairs(predict, variables, counts)) as pairs:
      metrics = grouping_metrics(pairs, modes=self.modes)
    return metrics | {name: float(value) for name, value in counts.items()}

  def _pairs(self, predict, variables, counts):
    """Yields (predicted, truth) label maps of every clip, adds to counts."""
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        counts["n_missing"] += len(info.skipped)
        counts["n_dropped_tracks"] += info.dropped_tracks
        truth = batch.clip.tracks
        if truth is None:
          raise ValueError("grouping needs clips with tracks, got none")
        predicted = blind_assignment(predict, variables, batch)
        rows, frames = len(truth), batch.clip.frame_mask
        valid = np.ones(rows, bool) if batch.valid is None else batch.valid
        for row in np.flatnonzero(valid):
          real = slice(None) if frames is None else np.asarray(frames[row])
          yield predicted[row][real], np.asarray(truth[row])[real]


def blind_assignment(predict, variables, batch: Batch) -> np.ndarray:
  """Returns the token that a model gives each cell of clips without tracks.

  Args:
    predict: as for `Grouping.run`.
    variables: of the model.
    batch: its text, tracks and layout are not shown to the model.

  Returns:
    [B, T, h, w] integers, -1 = no token.

  Raises:
    ValueError: the model gives no assignment, or not one for every frame.
  """
  clip = dataclasses.replace(batch.clip, tracks=None)
  blind = dataclasses.replace(batch, clip=clip, text=None, layout=None)
  found = np.asarray(_assignment(predict, variables, blind))
  expected = clip.frames.shape[:2]
  if found.ndim != 4 or found.shape[:2] != expected:
    raise ValueError(
      f"the assignment must be [B, T, h, w] with B, T = {expected}, "
      f"got {found.shape}"
    )
  return found


def grouping_metrics(
  pairs: Iterable[tuple[np.ndarray, np.ndarray]],
  *,
  modes: Sequence[str] = MODES,
) -> dict[str, float]:
  """Returns the metrics of label maps, whoever made them.

  Args:
    pairs: a (predicted [T, h, w], truth [T, H, W]) a clip, integers, negative =
      none; the grids may differ, from clip to clip too, see `tubes.overlaps`.
    modes: of `tubes.MODES`.

  Returns:
    standard_VEQ, _SQ, _RQ, _STQ_EN, and so on for every mode: means over
      clips, in [0, 1]. A clip without any object counts as 0 in
      `trajtok_compat`, as in the released code, and is left out elsewhere.
    J: region similarity, mean over the objects of all clips; every object has
      a tube of its own, see `match_objects`.
    F: contour accuracy of the same pairs, mean over objects.
    J&F: the mean of the two.
    coverage: of the cells of all objects, the share in their object's tube.
    active_tokens_per_clip: labels that own a cell, mean over clips.
    objects_per_clip: mean over clips.
    n_evaluated: clips.
    n_objects: objects of all clips.
    n_without_objects: clips without any.

  Raises:
    ValueError: no clip has an object, an unknown mode, or maps that do not go
      together.
  """
  _check_modes(modes)
  sums = collections.Counter()
  for predicted, truth in pairs:
    sums.update(_clip_sums(predicted, truth, modes))
  if not sums["objects"]:
    raise ValueError(
      f"grouping needs a clip with an object, {sums['clips']} clips have none"
    )
  clips, objects, with_objects = (
    sums[name] for name in ("clips", "objects", "clips_with_objects")
  )
  metrics = {}
  for mode in modes:
    counted = clips if mode == "trajtok_compat" else with_objects
    for name in _SCORES:
      metrics[f"{mode}_{name}"] = sums[mode, name] / counted
  return {
    **metrics,
    "J": sums["J"] / objects,
    "F": sums["F"] / objects,
    "J&F": (sums["J"] + sums["F"]) / (2 * objects),
    "coverage": sums["covered_cells"] / sums["object_cells"],
    "active_tokens_per_clip": sums["tokens"] / clips,
    "objects_per_clip": objects / clips,
    "n_evaluated": float(clips),
    "n_objects": float(objects),
    "n_without_objects": float(clips - with_objects),
  }


def _clip_sums(predicted, truth, modes) -> dict:
  """Returns what one clip adds to the sums, as Python numbers."""
  found = overlaps(predicted, truth)
  tubes, similarity = match_objects(found)
  has_tube = tubes >= 0
  shared = found.shared.sum(0)[tubes[has_tube], has_tube]
  sums = {
    "clips": 1,
    "clips_with_objects": int(len(tubes) > 0),
    "objects": len(tubes),
    "tokens": int((np.unique(predicted) >= 0).sum()),
    "J": float(similarity.sum()),
    "F": _summed_contour_accuracy(predicted, truth, found, tubes),
    "covered_cells": int(shared.sum()),
    "object_cells": int(found.truth_area.sum()),
  }
  for mode in modes:
    result = score_overlaps(found, mode)
    for name, field in _SCORES.items():
      sums[mode, name] = getattr(result, field)
  return sums


def _summed_contour_accuracy(
  predicted, truth, found: Overlaps, tubes: np.ndarray
) -> float:
  """Returns the sum over objects of F, each the mean over its frames."""
  predicted = to_grid(predicted, truth)
  total = 0.0
  for label, tube in zip(found.truth_labels, tubes, strict=True):
    if tube >= 0:
      mask = predicted == found.predicted_labels[tube]
    else:
      mask = np.zeros(truth.shape, bool)
    total += float(contour_accuracy(mask, truth == label).mean())
  return total


def _check_modes(modes) -> None:
  unknown = sorted(set(modes) - set(MODES))
  if unknown or isinstance(modes, str):
    raise ValueError(f"modes must be of {', '.join(MODES)}, got {modes!r}")


@functools.partial(jax.jit, static_argnums=0)
def _assignment(predict, variables, batch):
  aux = predict(variables, batch).get("aux", {}).get("tokenizer", {})
  if "assignment" not in aux:
    raise ValueError(
      "grouping needs a model whose tokenizer gives an 'assignment', this one "
      f"gives {', '.join(sorted(aux)) or 'nothing'}"
    )
  return aux["assignment"]
