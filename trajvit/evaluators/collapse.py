"""Whether embeddings still differ: cheap enough for every so many steps."""

import numpy as np

from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.evaluators.prompts import unit_rows

_ROWS = 1024  # clips compared with all others at once


class Collapse:
  """Rank, spread and uniformity of the embeddings of clips; no labels needed.

  Sources: RankMe, arXiv:2210.02885, for the rank; SimSiam, arXiv:2011.10566,
  for the deviation; Wang and Isola, arXiv:2005.10242, for alignment and
  uniformity.
  """

  def __init__(self, loader, *, text: bool = False):
    """Takes the loader; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo), with captions for `text`.
      text: whether captions are looked at, too.
    """
    self.loader, self.text = loader, text

  @property
  def wanted(self) -> tuple[str, ...]:
    """The features that `score` reads."""
    return ("video", "text") if self.text else ("video",)

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `video_embedding` [B, E],
        and with `text` `text_embedding` [B, C, E].
      variables: of the model.
    """
    return self.score(embed(self.loader, predict, variables, self.wanted))

  def score(self, features: Features) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: as `wanted`.

    Returns:
      feature_rank: in [1, min(n, E)], the exponential of the entropy of the
        singular values of the embeddings [n, E], which sum to 1; 1 where all
        are multiples of one.
      feature_std: standard deviation of a coordinate of the embeddings, which
        are brought to norm 1 first, times sqrt(E), averaged: 0 where all are
        equal, about 1 where they are spread evenly.
      feature_norm: mean norm, before that.
      uniformity: log of the mean of exp(-2 d^2) over pairs of different clips,
        d being their distance at norm 1; 0 where all are equal, about -4 where
        they are spread evenly.
      text_rank, text_std, text_norm, text_uniformity: of captions, with `text`.
      alignment: mean d^2 between a caption and its clip, with `text`; 0 where
        they are equal, 2 where they have nothing to do with each other.
      n_evaluated: clips; n_missing: those that could not be read.

    Raises:
      ValueError: fewer than two clips, or with `text` captions.
      FloatingPointError: an embedding is not finite.
    """
    video = features.finite("video").astype(np.float64)
    metrics = {f"feature_{k}": x for k, x in _spread(video, "clips").items()}
    metrics["uniformity"] = metrics.pop("feature_uniformity")
    if self.text:
      text = features.finite("text").astype(np.float64)
      metrics |= {f"text_{k}": x for k, x in _spread(text, "captions").items()}
      apart = unit_rows(text) - unit_rows(video)[features.caption_clip]
      metrics["alignment"] = float((apart**2).sum(1).mean())
    return metrics | {
      "n_evaluated": float(len(video)),
      "n_missing": float(len(features.missing)),
    }


def effective_rank(x: np.ndarray) -> float:
  """Returns the exponential of the entropy of the singular values of [n, E].

  That of zeros is 0.
  """
  values = np.linalg.svd(x, compute_uv=False)
  if not values.sum():
    return 0.0
  share = values / values.sum()
  share = share[share > 0]
  return float(np.exp(-(share * np.log(share)).sum()))


def _spread(x, what):
  """rank, std, norm and uniformity of [n, E] float64."""
  if len(x) < 2:
    raise ValueError(f"collapse needs at least 2 {what}, got {len(x)}")
  directions = unit_rows(x)
  return {
    "rank": effective_rank(x),
    "std": float(directions.std(0).mean() * np.sqrt(x.shape[1])),
    "norm": float(np.linalg.norm(x, axis=1).mean()),
    "uniformity": _uniformity(directions),
  }


def _uniformity(x):
  """Over all pairs of different rows of norm 1."""
  total, squares = 0.0, (x**2).sum(1)
  for i in range(0, len(x), _ROWS):
    rows = x[i : i + _ROWS]
    apart = squares[i : i + _ROWS, None] + squares - 2 * rows @ x.T
    total += np.exp(-2 * np.maximum(apart, 0)).sum()
  # Every row has met itself once, at a distance of 0.
  return float(np.log((total - len(x)) / (len(x) * (len(x) - 1))))
