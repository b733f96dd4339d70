"""Sources to batches: the same ones whoever reads them, from any step on.

There is no state to save: a position is a number, and reading starts anywhere
without reading what came before.
"""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Sequence

import numpy as np

from trajvit.data.augment.mix import Mixing, mix_examples
from trajvit.data.batching import (
  Row,
  blank_example,
  check_example,
  describe,
  stack,
)
from trajvit.data.example import BrokenClip, ClipSpec, Example, Source
from trajvit.data.failures import FailureBudget, TooManyBrokenClips
from trajvit.data.order import TrainOrder, row_position
from trajvit.data.packing import Packing
from trajvit.data.reading import BatchIterator
from trajvit.data.shapes import model_context
from trajvit.data.text import TextTokenizer
from trajvit.types import Batch

ATTEMPTS = 100  # clips tried for one row before the run is given up


class Loader:
  """Reads a source ahead of time and yields `(Batch, BatchInfo)`.

  The batches are a pure function of (source, text, seed, batch_size, step),
  whatever the number of threads, workers and processes.

  Attributes:
    source: what is read.
    clip: how every clip looks.
    text: the text tokenizer or None.
    captions: C, captions a clip in evaluation.
    failures: the FailureBudget, which counts all reads of this process. Only
      training enforces it; an evaluation reports what is missing.
    captions_cut: captions of the latest evaluation that did not fit into C.
    captions_shortened: those of them whose end did not fit into L.
  """

  def __init__(
    self,
    source: Source,
    *,
    clip: ClipSpec,
    text: TextTokenizer | None = None,
    packing: Packing | None = None,
    mixing: Mixing | None = None,
    batch_size: int,
    seed: int = 0,
    num_threads: int = 2,
    num_workers: int = 0,
    prefetch: int = 2,
    captions: int = 1,
    views: tuple[int, int] = (1, 1),
    failure_budget: float = 0.1,
    budget_after: int = 1000,
    process_index: int = 0,
    process_count: int = 1,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      source: the clips. One whose attribute `has_captions` is False gives
        batches without text.
      clip: how they look; every clip is held to it.
      text: encodes captions; None gives batches without text.
      packing: gives every batch a layout; None leaves that to the encoder.
      mixing: how training mixes clips with each other; None leaves them whole.
      batch_size: rows of the global batch.
      seed: of the order and of what training draws, in [0, 2**32).
      num_threads: threads that read; 0 reads where `next` is called.
      num_workers: processes that read in place of the threads, each a batch at
        a time; worth their start, which takes seconds, on many cores.
      prefetch: batches read ahead, which are held in memory; by each worker.
      captions: C, captions a clip in evaluation.
      views: (in time, in space), how often an evaluation sees every clip,
        evenly spread, see `ClipSpec.view`; the views of a clip are rows that
        follow each other.
      failure_budget: see FailureBudget.
      budget_after: see FailureBudget.
      process_index: which slice of every batch this process yields.
      process_count: how many slices there are; divides `batch_size`.

    Raises:
      ValueError: the source is empty or an argument is out of range.
    """
    if not len(source):
      raise ValueError(f"a source must have clips, {source!r} has none")
    for name, value, least in (
      ("batch_size", batch_size, 1),
      ("num_threads", num_threads, 0),
      ("num_workers", num_workers, 0),
      ("prefetch", prefetch, 1),
      ("captions", captions, 1),
      ("views", min(views), 1),
      ("process_count", process_count, 1),
    ):
      if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    if batch_size % process_count:
      raise ValueError(
        f"process_count must divide batch_size {batch_size}, "
        f"got {process_count}"
      )
    if not 0 <= process_index < process_count:
      raise ValueError(
        f"process_index must be in [0, {process_count}), got {process_index}"
      )
    self.source, self.clip, self.text = source, clip, text
    self.failures = FailureBudget(failure_budget, budget_after)
    self.captions_cut = self.captions_shortened = 0
    self._batch_size, self.captions = batch_size, captions
    self._order = TrainOrder(
      getattr(source, "sizes", len(source)),
      weights=getattr(source, "weights", None),
      seed=seed,
    )
    self._with_text = text is not None and getattr(source, "has_captions", True)
    self._seen = _seen_from(source, views)
    self._rows, self._packing = batch_size // process_count, packing
    self._mixing = mixing
    self._position = functools.partial(
      row_position,
      batch_size=batch_size,
      process_index=process_index,
      process_count=process_count,
    )
    self._reading = dict(
      rows=self._rows,
      num_threads=num_threads,
      num_workers=num_workers,
      prefetch=prefetch,
    )
    self._tracked: tuple[bool, str] | None = None  # has tracks, says which clip

  @property
  def num_clips(self) -> int:
    """The number of clips in the source."""
    return len(self.source)

  @property
  def views(self) -> int:
    """How many rows of an evaluation show the same clip."""
    return len(self._seen)

  @property
  def num_eval_batches(self) -> int:
    """The number of batches that `evaluate` yields."""
    return -(-self.num_clips * self.views // self._batch_size)

  def fingerprint(self) -> str:
    """A short hash of the clips and of how captions are encoded."""
    text = self.text.fingerprint() if self._with_text else "no text"
    content = f"{self.source.fingerprint()} {self.clip} {text}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]

  def model_context(self) -> dict:
    """Returns what the data tells `build_model`, see `data.shapes`."""
    return model_context(self.clip, self.text)

  def train(self, start_step: int = 0) -> BatchIterator:
    """Returns an endless iterator over `(Batch, BatchInfo)`, see BatchIterator.

    Text ids are [B, L], `valid` is None; B is this process's share. A clip
    that cannot be read is replaced by another one of the source.

    Args:
      start_step: how many batches of the whole sequence to leave out.

    Raises:
      ValueError: `start_step` is negative, B is no multiple of the clips in a
        packed group, or they cannot be mixed; from `next`, a clip is not as
        `clip` says, or alone has, or lacks, tracks.
      TooManyBrokenClips: from `next`, when the failure budget is spent or
        ATTEMPTS clips in a row cannot be read.
    """
    if start_step < 0:
      raise ValueError(f"start_step must be 0 or more, got {start_step}")
    if self._packing is not None and self._rows % self._packing.group.clips:
      raise ValueError(
        f"packing.clips must divide the {self._rows} clips of a batch that a "
        f"process reads, got {self._packing.group.clips}"
      )
    if self._mixing is not None:
      self._mixing.check(rows=self._rows, with_text=self._with_text)
    return BatchIterator(
      self._read_train_row,
      self._assemble_train,
      finish=self._finish_train,
      start=start_step * self._rows,
      stop=sys.maxsize // self._rows * self._rows,
      **self._reading,
    )

  def evaluate(self) -> BatchIterator:
    """Returns an iterator over every view of every clip, in order, as batches.

    Text ids are [B, C, L]: the first C captions, then empty slots. Rows after
    the last clip, and those of clips that cannot be read, hold zeros and have
    `valid` False; the latter are in `BatchInfo.skipped`.

    Raises:
      ValueError: from `next`, as in `train`.
      TooManyBrokenClips: from `next`, if no clip at all can be read.
    """
    self.captions_cut = self.captions_shortened = 0
    return BatchIterator(
      self._read_eval_row,
      self._assemble_eval,
      finish=self._finish_eval,
      start=0,
      stop=self.num_eval_batches * self._rows,
      **self._reading,
    )

  def _read_train_row(self, row: int) -> Row:
    """Runs in a thread or worker; gives up where all attempts fail."""
    skipped = []
    for attempt in range(ATTEMPTS):
      index, rng = self._order.draw(self._position(row), attempt)
      try:
        example = self._example(index, rng)
      except BrokenClip as broken:
        skipped.append((broken.name, broken.reason))
        continue
      text, shortened = self._encode(example.captions, 1)
      if text is not None:
        text = tuple(array[0] for array in text)  # [L]
      return Row(
        example,
        text,
        tuple(skipped),
        captions_shortened=shortened,
        position=self._position(row),
      )
    failures = FailureBudget()  # not the loader's own: this is a thread
    failures.count(0, skipped)
    raise _given_up(f"{ATTEMPTS} clips in a row cannot be read", failures)

  def _read_eval_row(self, row: int) -> Row:
    """Runs in a thread or worker: a clip, or None if this row has none."""
    index, view = divmod(self._position(row), self.views)
    empty, _ = self._encode((), self.captions)
    if index >= self.num_clips:
      return Row(None, empty)
    try:
      example = self._example(index, None, self._seen[view])
    except BrokenClip as broken:
      return Row(None, empty, ((broken.name, broken.reason),))
    text, shortened = self._encode(example.captions, self.captions)
    cut = max(len(example.captions) - self.captions, 0) if text else 0
    return Row(example, text, captions_cut=cut, captions_shortened=shortened)

  def _example(self, index: int, rng, source=None) -> Example:
    example = (source or self.source).example(index, rng)
    check_example(example, self.clip)
    return example

  def _encode(
    self, captions: Sequence[str], count: int
  ) -> tuple[tuple[np.ndarray, np.ndarray] | None, int]:
    """Ids and mask, [count, L] each, and how many captions lost their end.

    Slots without a caption are empty.
    """
    if not self._with_text:
      return None, 0
    slots = [*captions[:count], *[""] * (count - len(captions))]
    ids, mask, lost = zip(*map(self.text.encode_counted, slots), strict=True)
    return (np.stack(ids), np.stack(mask)), sum(map(bool, lost))

  def _assemble_train(self, rows: list[Row]):
    """Runs in a worker where there are some."""
    mix = None
    if self._mixing is not None:
      examples, mix = mix_examples(
        [row.example for row in rows],
        [row.position for row in rows],
        seed=self._order.seed,
        mixing=self._mixing,
        max_tracks=self.clip.max_tracks,
      )
      rows = [
        dataclasses.replace(row, example=example)
        for row, example in zip(rows, examples, strict=True)
      ]
    batch = self._stack(rows, fill=False)
    return dataclasses.replace(batch, mix=mix), describe(rows)

  def _assemble_eval(self, rows: list[Row]):
    """Runs in a worker where there are some."""
    return self._stack(rows, fill=True), describe(rows)

  def _finish_train(self, item):
    _, info = item
    self.failures.record(len(info.names), info.skipped)
    return item

  def _finish_eval(self, item):
    batch, info = item
    self.failures.count(int(batch.valid.sum()), info.skipped)
    self.captions_cut += info.captions_cut
    self.captions_shortened += info.captions_shortened
    return item

  def _stack(self, rows: list[Row], *, fill: bool) -> Batch:
    batch = stack(rows, self._blank(rows), fill=fill)
    if self._packing is None:
      return batch
    layout = self._packing.layout(batch.clip, self.clip.max_tracks)
    return dataclasses.replace(batch, layout=layout)

  def _blank(self, rows: list[Row]) -> Example:
    """A blank row like those of this source, all of which have tracks or none.

    Raises:
      ValueError: a clip has tracks and another has none.
    """
    for row in rows:
      if row.example is not None:
        self._check_tracks(row.example)
    if self._tracked is None:  # no clip so far: look for one
      self._check_tracks(self._first_readable())
    return blank_example(self.clip, tracks=self._tracked[0])

  def _check_tracks(self, example: Example) -> None:
    tracked = example.tracks is not None
    if self._tracked is None:
      self._tracked = tracked, example.name
    elif self._tracked[0] != tracked:
      one, other = self._tracked[1], example.name
      if tracked:
        one, other = other, one
      raise ValueError(
        "all clips of a source must have tracks or none must: "
        f"{one} has tracks, {other} has none"
      )

  def _first_readable(self) -> Example:
    failures = FailureBudget()  # not the loader's own, which counts the rows
    for index in range(self.num_clips):
      try:
        return self._example(index, None)
      except BrokenClip as broken:
        failures.count(0, [(broken.name, broken.reason)])
    raise _given_up("no clip of the source can be read", failures)


def _seen_from(source: Source, views: tuple[int, int]) -> list[Source]:
  """The source from every view of an evaluation.

  Raises:
    ValueError: the source has one view only.
  """
  if tuple(views) == (1, 1):
    return [source]
  if not hasattr(source, "seen_from"):
    raise ValueError(f"{source!r} has one view, got views {tuple(views)}")
  times, places = (
    [None] if count == 1 else [i / (count - 1) for i in range(count)]
    for count in views
  )
  return [source.seen_from((t, p)) for t in times for p in places]


def _given_up(why: str, failures: FailureBudget) -> TooManyBrokenClips:
  return TooManyBrokenClips(f"{why}: {failures.summary()}.\n{failures.worst()}")
