"""A loader of arrays: clips, captions, some missing, the last batch filled."""

import dataclasses

import numpy as np

from trajvit.types import Batch, Clip, Text


@dataclasses.dataclass
class Info:
  names: tuple
  skipped: tuple


class FakeLoader:
  """Clips are [T, H, W, 3] arrays or None for missing; captions lists of ids.

  Attributes:
    open: iterators that were started and neither finished nor closed.
  """

  def __init__(self, clips, captions=None, clip_ids=None, *, batch_size=3):
    self.clips, self.captions, self.batch_size = clips, captions, batch_size
    self.clip_ids = range(len(clips)) if clip_ids is None else clip_ids
    self.captions_cut = 0
    self.open = 0

  def evaluate(self):
    self.open += 1
    try:
      for start in range(0, len(self.clips), self.batch_size):
        yield self.batch(range(start, start + self.batch_size))
    finally:
      self.open -= 1

  def batch(self, rows):
    shape = next(np.shape(clip) for clip in self.clips if clip is not None)
    there = [i < len(self.clips) and self.clips[i] is not None for i in rows]
    frames = [
      self.clips[i] if ok else np.zeros(shape, np.uint8)
      for i, ok in zip(rows, there, strict=True)
    ]
    missing = [
      i
      for i, ok in zip(rows, there, strict=True)
      if not ok and i < len(self.clips)
    ]
    ids = [
      self.clip_ids[i] if ok else -1 for i, ok in zip(rows, there, strict=True)
    ]
    batch = Batch(
      clip=Clip(frames=np.stack(frames)),
      text=self.read_text(rows, there),
      clip_id=np.array(ids, np.int32),
      valid=np.array(there),
    )
    names = tuple(
      f"clip{i}" if ok else "" for i, ok in zip(rows, there, strict=True)
    )
    return batch, Info(names, tuple((f"clip{i}", "broken") for i in missing))

  def read_text(self, rows, there):
    """Ids [B, C, L], one word a caption."""
    if self.captions is None:
      return None
    most = max(1, *map(len, self.captions))
    ids = np.zeros((len(rows), most, 2), np.int32)
    mask = np.zeros(ids.shape, bool)
    for row, (i, ok) in enumerate(zip(rows, there, strict=True)):
      for slot, word in enumerate(self.captions[i] if ok else ()):
        ids[row, slot, 0], mask[row, slot, 0] = word, True
    return Text(ids, mask)


class LabelledLoader(FakeLoader):
  """Clips of one frame whose pixels are vectors [n], or None, and labels."""

  def __init__(self, vectors, labels, **options):
    clips = [x if x is None else x.reshape(1, 1, -1, 1) for x in vectors]
    super().__init__(clips, **options)
    self.labels = labels

  def batch(self, rows):
    batch, info = super().batch(rows)
    label = [self.labels[i] if i < len(self.labels) else -1 for i in rows]
    label = np.where(batch.valid, label, 99)  # never to be read
    return dataclasses.replace(batch, label=label.astype(np.int32)), info
