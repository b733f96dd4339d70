"""Video-text retrieval: captions that find their clip, and the reverse."""

import contextlib
import dataclasses
import functools

import jax
import numpy as np

from trajvit.evaluators.ranking import ranks

CUTOFFS = (1, 5, 10)
# Scores of embeddings of norm 1 that are closer than this tie: float32 rounding
# is below it, see `ranks`.
TOLERANCE = 1e-6


class Retrieval:
  """Text-to-video and video-to-text recall and ranks over all clips.

  Text to video, every caption is a query over all clips; video to text, every
  clip is a query over all captions and its best ranked correct caption counts.
  Clips with equal ids match each other's captions. Ties count against us.
  """

  def __init__(self, loader, *, groups: int = 0):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with `clip_id` and text ids
        [B, C, L]; `captions_cut` counts the captions beyond C.
      groups: if given, also let every clip choose among the captions of its own
        group of so many clips that follow each other in the data.

    Raises:
      ValueError: `groups` is 1 or negative.
    """
    if groups < 0 or groups == 1:
      raise ValueError(f"groups must be 0 or at least 2, got {groups}")
    self.loader, self.groups = loader, groups

  def run(self, predict, variables) -> dict[str, float]:
    """Returns the metrics of all clips that can be read.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E] and
        `text_embedding` [B, C, E], float32 of norm 1. Compiled once for every
        `predict`, so hand in the same one again.
      variables: of the model.

    Returns:
      t2v_R@1, t2v_R@5, t2v_R@10: captions whose rank is at most that, percent.
      t2v_median_rank, t2v_mean_rank: from 1.
      v2t_...: the same for clips that have a correct caption.
      choice_accuracy: percent of clips whose caption comes first in the group,
        with `groups`. Chance is 100 / groups at one caption a clip and ids that
        differ. A group with a clip that is missing or has no caption is left
        out, since it would be easier.
      n_evaluated: clips that took part.
      n_missing: clips that could not be read.
      n_captions: captions that took part.
      n_captions_cut: captions beyond C, which the loader left out.
      n_uncaptioned: clips that no caption belongs to. Captions can still find
        them by mistake.
      n_choices: clips in complete groups, with `groups`.
      n_overflow_tokens: tokens that the rows of a packed encoder had no slot
        for; where it is not 0, the clips of a batch matter to each other.

    Raises:
      ValueError: no clip or no caption, outputs of another shape, or `groups`
        without a complete group.
      FloatingPointError: an embedding is not finite.
    """
    clips, captions, missing, overflow = self._embed(predict, variables)
    asked = clips.select(np.isin(clips.ids, captions.ids))
    return {
      **_summary("t2v", _ranks(captions, clips)),
      **_summary("v2t", _ranks(asked, captions)),
      **(self._choice(clips, captions) if self.groups else {}),
      "n_evaluated": float(len(clips.ids)),
      "n_missing": float(missing),
      "n_captions": float(len(captions.ids)),
      "n_captions_cut": float(self.loader.captions_cut),
      "n_uncaptioned": float(len(clips.ids) - len(asked.ids)),
      "n_overflow_tokens": float(overflow),
    }

  def _embed(self, predict, variables):
    """All clips, all captions, clips missing and tokens lost."""
    clips, captions, missing, seen, overflow = [], [], 0, 0, 0
    with contextlib.closing(self.loader.evaluate()) as batches:
      for batch, info in batches:
        video, text, lost = _embeddings(predict, variables, batch)
        places = seen + np.arange(len(video))
        row = _Embedded(video, batch.clip_id, places, np.array(info.names))
        if batch.valid is None:
          valid = np.ones(len(video), bool)
        else:
          valid = np.asarray(batch.valid)
        real = np.asarray(batch.text.mask).any(-1) & valid[:, None]  # [B, C]
        rows, slots = np.nonzero(real)
        clips.append(row.select(valid))
        captions.append(
          dataclasses.replace(row.select(rows), vectors=text[rows, slots])
        )
        missing += len(info.skipped)
        seen += len(video)
        overflow += lost
    clips, captions = _join(clips, "clip"), _join(captions, "caption")
    return clips, captions, missing, overflow

  def _choice(self, clips, captions):
    """Retrieval inside groups of clips that follow each other."""
    captioned = np.isin(clips.places, captions.places)
    groups, sizes = np.unique(
      clips.places[captioned] // self.groups, return_counts=True
    )
    complete = groups[sizes == self.groups]
    clips, captions = (
      x.select(np.isin(x.places // self.groups, complete))
      for x in (clips, captions)
    )
    if not len(complete):
      raise ValueError(
        f"not one group of {self.groups} clips has a caption for each"
      )
    found = _ranks(
      clips,
      captions,
      query_groups=clips.places // self.groups,
      item_groups=captions.places // self.groups,
    )
    return {
      "choice_accuracy": _percent(found == 1),
      "n_choices": float(len(found)),
    }


@dataclasses.dataclass(frozen=True)
class _Embedded:
  """Clips or captions: vectors [n, E]; id, place in the data and name [n]."""

  vectors: np.ndarray
  ids: np.ndarray
  places: np.ndarray
  names: np.ndarray

  def select(self, rows) -> "_Embedded":
    return _Embedded(*(x[rows] for x in vars(self).values()))


def _join(parts, kind):
  """One _Embedded of all; there must be some and they must be finite."""
  fields = zip(*(vars(part).values() for part in parts), strict=True)
  whole = _Embedded(*map(np.concatenate, fields)) if parts else None
  if whole is None or not len(whole.ids):
    raise ValueError(f"retrieval needs a {kind}, the loader has none")
  bad = whole.names[~np.isfinite(whole.vectors).all(-1)]
  if len(bad):
    raise FloatingPointError(
      f"{len(bad)} of {len(whole.ids)} {kind} embeddings are not finite, first "
      f"that of {bad[0]}"
    )
  return whole


@functools.partial(jax.jit, static_argnums=0)
def _predict_embeddings(predict, variables, batch):
  outputs = predict(variables, batch)
  lost = outputs.get("metrics", {}).get("packing/overflow_tokens", 0)
  return outputs["video_embedding"], outputs["text_embedding"], lost


def _embeddings(predict, variables, batch):
  """Embeddings of clips [B, E] and captions [B, C, E] in NumPy, tokens lost."""
  if batch.text is None or batch.clip_id is None:
    raise ValueError("retrieval needs batches with text and clip_id, got none")
  video, text, lost = jax.device_get(
    _predict_embeddings(predict, variables, batch)
  )
  expected = (*batch.text.mask.shape[:2], video.shape[-1])
  if batch.text.mask.ndim != 3 or text.shape != expected:
    raise ValueError(
      f"captions [B, C, L] must have embeddings {expected}, got captions "
      f"{batch.text.mask.shape} with embeddings {text.shape}"
    )
  return video, text, int(lost)


def _ranks(queries, items, **groups):
  found = ranks(
    queries.vectors,
    items.vectors,
    queries.ids,
    items.ids,
    tolerance=TOLERANCE,
    **groups,
  )
  # [Q] integers: their sum is exact in int64, which the device has not.
  return np.asarray(found).astype(np.int64)


def _summary(way, found):
  return {
    **{f"{way}_R@{k}": _percent(found <= k) for k in CUTOFFS},
    f"{way}_median_rank": float(np.median(found)),
    f"{way}_mean_rank": float(found.sum() / len(found)),
  }


def _percent(hits):
  return 100.0 * int(hits.sum()) / len(hits)
