"""Several views of a clip, in time and space, averaged to one."""

import dataclasses

import numpy as np

from trajvit.evaluators.features import Features


def averaged(features: Features, views: int) -> Features:
  """Returns one row for every clip of which all views could be read.

  Embeddings of norm 1 are averaged and brought to norm 1 again; logits become
  the logarithm of their averaged probabilities; tokens stand side by side.
  Captions are those of a clip's first view, whatever else is an average.

  Args:
    features: of a loader whose clips have so many rows each, `place` counting
      the rows.
    views: how many.

  Returns:
    Features whose `place` counts clips.
  """
  clip = features.place // views
  clips, first, counts = np.unique(clip, return_index=True, return_counts=True)
  whole = counts == views
  first = first[whole]
  rows = first[:, None] + np.arange(views)  # [n, views]
  outputs = {
    name: _AVERAGES.get(name.partition("@")[0], _mean)(x[rows])
    for name, x in features.outputs.items()
    if name != "text"
  }
  order = {row: i for i, row in enumerate(first.tolist())}
  kept = np.isin(features.caption_clip, first)
  if "text" in features.outputs:
    outputs["text"] = features.outputs["text"][kept]
  owners = [order[row] for row in features.caption_clip[kept].tolist()]
  missing = {name: (name, reason) for name, reason in features.missing}
  label, labels = features.label, features.labels
  return dataclasses.replace(
    features,
    outputs=outputs,
    clip_id=features.clip_id[first],
    label=None if label is None else label[first],
    labels=None if labels is None else tuple(labels[row] for row in first),
    place=clips[whole],
    names=tuple(features.names[row] for row in first),
    caption_clip=np.array(owners, np.int64),
    missing=tuple(missing.values()),
  )


def _mean(x):
  """[n, views, ...] to [n, ...]."""
  return x.mean(1)


def _unit_mean(x):
  mean = x.mean(1)
  return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def _mean_probability(logits):
  """Logits [n, views, C] to the log of their mean probabilities [n, C]."""
  shifted = logits - logits.max(-1, keepdims=True)
  odds = np.exp(shifted)
  share = (odds / odds.sum(-1, keepdims=True)).mean(1)
  return np.log(np.maximum(share, np.finfo(share.dtype).tiny))


def _side_by_side(x):
  """[n, views, N, ...] to [n, views * N, ...]."""
  return x.reshape(len(x), -1, *x.shape[3:])


_AVERAGES = {
  "video": _unit_mean,
  "logits": _mean_probability,
  "tokens": _side_by_side,
  "tokens_mask": _side_by_side,
}
