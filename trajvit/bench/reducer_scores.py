"""What the embeddings of a reduced encoder are worth."""

import contextlib
import dataclasses

import jax
import numpy as np

from trajvit.data import build_loader
from trajvit.evaluators.made_frames import valid_clips
from trajvit.evaluators.ranking import ranks
from trajvit.evaluators.ridge import ridge_accuracy
from trajvit.types import Batch


@dataclasses.dataclass(frozen=True)
class Gallery:
  """Clips that are read once and embedded by every model.

  Attributes:
    batches: with one caption a clip.
    ids: [n] int32, of the clips that are valid.
    labels: [n] int32 class, -1 = unknown.
  """

  batches: list[Batch]
  ids: np.ndarray
  labels: np.ndarray


def read_gallery(config, source: dict, clips: int | None = None) -> Gallery:
  """Returns the clips of a source of a run, at most `clips` of them.

  Args:
    config: of the run.
    source: spec of a source.
    clips: rounded up to whole batches; None is all.
  """
  batches, ids, labels = [], [], []
  loader = build_loader(config.data, source, seed=config.seed)
  with contextlib.closing(loader.evaluate()) as found:
    for batch, _ in found:
      valid = valid_clips(batch)
      batches.append(batch)
      ids.append(batch.clip_id[valid])
      unknown = np.full(len(valid), -1)
      labels.append((unknown if batch.label is None else batch.label)[valid])
      if clips is not None and sum(map(len, ids)) >= clips:
        break
  return Gallery(batches, np.concatenate(ids), np.concatenate(labels))


def embeddings(embed, variables: dict, gallery: Gallery) -> tuple:
  """Returns [n, E] embeddings of the valid clips, and the means of metrics.

  Args:
    embed: compiled, `(variables, batch) -> ([B, E], metrics)`.
    variables: of the model.
    gallery: whose clips.
  """
  vectors, told = [], []
  for batch in gallery.batches:
    found, metrics = jax.device_get(embed(variables, without_text(batch)))
    vectors.append(found[valid_clips(batch)])
    told.append(metrics)
  means = {name: float(np.mean([x[name] for x in told])) for name in told[0]}
  return np.concatenate(vectors), means


def caption_embeddings(encode, variables: dict, gallery: Gallery) -> np.ndarray:
  """Returns [n, E], of the first caption of every valid clip."""
  found = [
    np.asarray(encode(variables, batch))[valid_clips(batch), 0]
    for batch in gallery.batches
  ]
  return np.concatenate(found)


def recall(
  captions: np.ndarray, clips: np.ndarray, ids: np.ndarray, k: int
) -> float:
  """Returns the percent of captions that find their clip among the first k."""
  found = ranks(captions, clips, ids, ids, tolerance=1e-6)
  return 100.0 * float((np.asarray(found) <= k).mean())


def choice(clips: np.ndarray, captions: np.ndarray, ids, group: int) -> float:
  """Returns how often a clip chooses its caption in its group, in percent.

  Groups are clips that follow each other and differ in motion alone.
  """
  groups = np.arange(len(ids)) // group
  found = ranks(
    clips,
    captions,
    ids,
    ids,
    query_groups=groups,
    item_groups=groups,
    tolerance=1e-6,
  )
  return 100.0 * float((np.asarray(found) == 1).mean())


def probe(train: tuple, test: tuple) -> float | None:
  """Returns the percent of test clips whose class a linear probe finds.

  Args:
    train: (embeddings, labels); None is returned where no class is known.
    test: likewise.
  """
  if (train[1] < 0).all() or (test[1] < 0).all():
    return None
  return ridge_accuracy(*train, *test)


def without_text(batch: Batch) -> Batch:
  """Returns the batch without its captions."""
  return dataclasses.replace(batch, text=None)
