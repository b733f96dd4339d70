"""All ways of the benchmark of data to read its clips: ours and PyTorch's."""

import contextlib
import dataclasses
import functools
import importlib
import importlib.util
import pathlib
import time
from collections.abc import Callable, Iterator

import numpy as np

from trajvit.bench import data_clips
from trajvit.bench.cpu_time import cpu_seconds
from trajvit.bench.data_clips import Recording
from trajvit.data.example import ClipSpec, Example, Source
from trajvit.data.formats import ArrayRecordClips, TarClips
from trajvit.data.formats.make import Options
from trajvit.data.formats.pack import pack_manifest
from trajvit.data.loader import Loader
from trajvit.data.packing import Packing
from trajvit.data.tracks import compact_tracks
from trajvit.data.video_files import VideoFiles

STORAGES = ("files", "array_record", "tar")
READERS = {
  "this thread": {"num_threads": 0},
  "2 threads": {"num_threads": 2},
  "2 processes": {"num_workers": 2},
}
# A DataLoader has no threads.
BASELINE_WORKERS = {"this thread": 0, "2 processes": 2}
BASELINES = {"decord": "decord", "pyav": "av"}  # name -> package
SHARDS = 4
WARM_UP = 2  # batches


@dataclasses.dataclass(frozen=True)
class Reading:
  """One way to read the clips.

  Attributes:
    clips: how they are stored, or what decodes them in the baseline.
    reader: a key of READERS.
    baseline: whether it is PyTorch's.
    open: returns a context manager over an endless iterator of batches.
  """

  clips: str
  reader: str
  baseline: bool
  open: Callable


class DataReaders:
  """The clips of the benchmark, and how they are read.

  Attributes:
    folder: has a folder for each storage.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    *,
    recording: Recording,
    clip: ClipSpec,
    batch_size: int,
    storages: tuple[str, ...],
  ):
    """Makes the clips and packs them.

    Args:
      folder: where they go.
      recording: what the videos are.
      clip: how every clip looks.
      batch_size: B.
      storages: of STORAGES.

    Raises:
      ValueError: see `data_clips.record`.
    """
    self.folder = folder
    self._clip, self._batch_size = clip, batch_size
    self._manifest = data_clips.record(folder / "files", recording)
    for name in storages:
      if name != "files":
        pack_manifest(
          str(self._manifest),
          str(folder / name),
          Options(tracks="sidecar"),
          container=name,
          shards=min(SHARDS, recording.clips),
          processes=1,
        )

  def source(self, storage: str) -> Source:
    """Returns our source of a storage."""
    common = {"clip": self._clip, "tracks": "sidecar"}
    root = str(self.folder / storage)
    if storage == "array_record":
      return ArrayRecordClips(root=root, **common)
    if storage == "tar":
      return TarClips(root=root, **common)
    return VideoFiles(manifest=str(self._manifest), **common)

  def ours(self, storage: str, reader: str) -> Reading:
    """Returns the reading of a storage by our loader, packed by tracks."""
    packing = Packing(
      tokens="tracks",
      clips=self._batch_size,
      rows=-(-self._batch_size // 2),
      length=2 * self._clip.max_tracks,
    )
    loader = Loader(
      self.source(storage),
      clip=self._clip,
      packing=packing,
      batch_size=self._batch_size,
      **READERS[reader],
    )
    return Reading(storage, reader, baseline=False, open=loader.train)

  def baseline_clips(self, name: str, *, train: bool):
    """Returns PyTorch's Dataset of the plain files; needs `has_baseline`."""
    torch_data = importlib.import_module("trajvit.bench.data_torch")
    decode = torch_data.DECODERS[name]
    return torch_data.Clips(self._manifest, self._clip, decode, train=train)

  def baseline(self, name: str, reader: str) -> Reading:
    """Returns the reading of plain files by a DataLoader."""
    open_it = functools.partial(self._torch_batches, name, reader)
    return Reading(f"PyTorch, {name}", reader, baseline=True, open=open_it)

  @contextlib.contextmanager
  def _torch_batches(self, name, reader) -> Iterator:
    torch_data = importlib.import_module("trajvit.bench.data_torch")
    yield torch_data.batches(
      self.baseline_clips(name, train=True),
      batch_size=self._batch_size,
      workers=BASELINE_WORKERS[reader],
    )


def has_baseline(name: str) -> bool:
  """Whether PyTorch and the package of a baseline are installed."""
  packages = "torch", BASELINES[name]
  return all(importlib.util.find_spec(package) for package in packages)


def measure(reading: Reading, batches: int) -> tuple[float, float | None]:
  """Returns the seconds and the processor seconds that some batches take.

  What reads is started anew and stopped again, so that nothing reads ahead
  while others are measured; to start is not in the time.
  """
  with reading.open() as read:
    for _ in range(WARM_UP):
      next(read)
    cpu, start = cpu_seconds(), time.perf_counter()
    for _ in range(batches):
      next(read)
    wall, after = time.perf_counter() - start, cpu_seconds()
  return wall, None if cpu is None else after - cpu


def agreement(examples: list[Example], clips: list[tuple]) -> dict:
  """Returns how far (frames, tracks) of clips are those of examples.

  Returns:
    `shapes` of a clip, mean absolute `difference` of its pixels in steps of
    256, and which share of the cells have equal `tracks`.
  """
  apart, equal = [], []
  for example, (frames, tracks) in zip(examples, clips, strict=True):
    frames, tracks = np.asarray(frames), np.asarray(tracks)
    apart.append(np.abs(frames.astype(np.int16) - example.frames).mean())
    equal.append((compact_tracks(tracks) == example.tracks).mean())
  return {
    "shapes": f"{list(frames.shape)} {frames.dtype}, {list(tracks.shape)}",
    "difference": float(np.mean(apart)),
    "tracks": float(np.mean(equal)),
  }
