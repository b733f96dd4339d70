"""Video-text retrieval: captions that find their clip, and the reverse."""

import dataclasses

import numpy as np

from trajvit.evaluators.bootstrap import (
  check_resamples,
  estimate,
  means,
  weighted_median,
)
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.evaluators.ranking import log_sums, ranks

CUTOFFS = (1, 5, 10)
# Scores of embeddings of norm 1 that are closer than this tie: float32 rounding
# is below it, see `ranks`.
TOLERANCE = 1e-6


class Retrieval:
  """Text-to-video and video-to-text recall and ranks over all clips.

  Text to video, every caption is a query over all clips; video to text, every
  clip is a query over all captions and its best ranked correct caption counts.
  Clips with equal ids match each other's captions. Ties count against us.

  Dual softmax (CAMoE, arXiv:2109.04290) multiplies the similarity of a query
  and an item with the softmax of the item's similarities over all queries, so
  that an item that is near to everything is nearest to few. It takes all
  queries to be known at once, which a search engine's are not: its metrics
  are apart.
  """

  wanted = ("video", "text")

  def __init__(
    self,
    loader,
    *,
    groups: int = 0,
    dual_softmax: float | None = None,
    bootstrap: int = 0,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with `clip_id` and text ids
        [B, C, L]; `captions_cut` counts the captions beyond C.
      groups: if given, also let every clip choose among the captions of its own
        group of so many clips that follow each other in the data.
      dual_softmax: its temperature, such as 0.01; None leaves it out.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.

    Raises:
      ValueError: `groups` is 1 or negative, `dual_softmax` is not above 0, or
        `bootstrap` is negative.
    """
    if groups < 0 or groups == 1:
      raise ValueError(f"groups must be 0 or at least 2, got {groups}")
    if dual_softmax is not None and not dual_softmax > 0:
      raise ValueError(
        f"dual_softmax must be a temperature above 0, got {dual_softmax}"
      )
    self.loader, self.groups = loader, groups
    self.dual_softmax = dual_softmax
    self.bootstrap = check_resamples(bootstrap)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E] and
        `text_embedding` [B, C, E], float32 of norm 1.
      variables: of the model.
    """
    return self.score(embed(self.loader, predict, variables, self.wanted))

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: "video" and "text".

    Returns:
      t2v_R@1, t2v_R@5, t2v_R@10: captions whose rank is at most that, percent.
      t2v_median_rank, t2v_mean_rank: from 1.
      v2t_...: the same for clips that have a correct caption.
      dsl_t2v_..., dsl_v2t_...: the same of dual softmax, with `dual_softmax`.
      <metric>_low, <metric>_high: 95 % intervals of all these and of
        choice_accuracy, with `bootstrap`: queries are drawn anew, clip by clip,
        and the gallery stays.
      choice_accuracy: percent of clips whose caption comes first in the group,
        with `groups`. Chance is 100 / groups at one caption a clip and ids that
        differ. A group with a clip that is missing or has no caption is left
        out, since it would be easier.
      n_evaluated: clips that took part.
      n_missing: clips that could not be read.
      n_captions: captions that took part.
      n_captions_cut: captions beyond C, which the loader left out.
      n_captions_shortened: captions that lost their end.
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
    clips = _Embedded(
      features.finite("video"), features.clip_id, features.place
    )
    captions = clips.select(features.caption_clip)
    captions = dataclasses.replace(captions, vectors=features.finite("text"))
    for kind, embedded in (("clip", clips), ("caption", captions)):
      if not len(embedded.ids):
        raise ValueError(f"retrieval needs a {kind}, the loader has none")
    asked = clips.select(np.isin(clips.ids, captions.ids))
    return {
      **self._ranked("t2v", captions, clips),
      **self._ranked("v2t", asked, captions),
      **(self._choice(clips, captions) if self.groups else {}),
      "n_evaluated": float(len(clips.ids)),
      "n_missing": float(len(features.missing)),
      "n_captions": float(len(captions.ids)),
      "n_captions_cut": float(features.captions_cut),
      "n_captions_shortened": float(features.captions_shortened),
      "n_uncaptioned": float(len(clips.ids) - len(asked.ids)),
      "n_overflow_tokens": float(features.overflow_tokens),
    }

  def _ranked(self, way, queries, items):
    """Metrics of one direction, and those of dual softmax."""
    priors = {way: None}
    if self.dual_softmax is not None:
      temperature = np.float32(self.dual_softmax)
      sums = log_sums(queries.vectors, items.vectors, temperature)
      priors[f"dsl_{way}"] = temperature, sums
    metrics = {}
    for name, prior in priors.items():
      found = _ranks(queries, items, prior=prior)
      metrics |= estimate(_summary(name, found), queries.ids, self.bootstrap)
    return metrics

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
    hits = means({"choice_accuracy": 100.0 * (found == 1)})
    return {
      **estimate(hits, clips.ids, self.bootstrap),
      "n_choices": float(len(found)),
    }


@dataclasses.dataclass(frozen=True)
class _Embedded:
  """Clips or captions: vectors [n, E]; id and place in the data [n]."""

  vectors: np.ndarray
  ids: np.ndarray
  places: np.ndarray

  def select(self, rows) -> "_Embedded":
    return _Embedded(*(x[rows] for x in vars(self).values()))


def _ranks(queries, items, **options):
  found = ranks(
    queries.vectors,
    items.vectors,
    queries.ids,
    items.ids,
    tolerance=TOLERANCE,
    **options,
  )
  # [Q] integers: their sum is exact in int64, which the device has not.
  return np.asarray(found).astype(np.int64)


def _summary(way, found):
  """The statistic of the ranks of queries, see `evaluators.bootstrap`."""
  average = means(
    {f"{way}_R@{k}": 100.0 * (found <= k) for k in CUTOFFS}
    | {f"{way}_mean_rank": found}
  )
  median = f"{way}_median_rank"
  return lambda weights: (
    average(weights) | {median: weighted_median(found, weights)}
  )
