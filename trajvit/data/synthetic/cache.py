"""Rendered clips in memory maps, made once by all processor cores."""

import concurrent.futures
import multiprocessing
import pathlib
import shutil
import uuid
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

CHUNK = 64  # clips that a worker renders at a time


class RenderedClip(NamedTuple):
  """A clip without its words.

  Attributes:
    frames: [T, S, S, 3] uint8.
    tracks: [T, g, g] int32 in [0, M) or -1, or None.
    dropped_tracks: how many tracks did not fit into M.
  """

  frames: np.ndarray
  tracks: np.ndarray | None
  dropped_tracks: int


class ClipCache:
  """Reads clips from a folder of `build_cache`; pickles as its path."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self._arrays = _open_arrays(folder, "r")

  def __reduce__(self):
    return type(self), (self.folder,)

  def __getitem__(self, index: int) -> RenderedClip:
    """Returns clip `index`, in memory of its own."""
    tracks = self._arrays.get("tracks")
    return RenderedClip(
      np.array(self._arrays["frames"][index]),
      None if tracks is None else np.array(tracks[index]),
      int(self._arrays["dropped_tracks"][index]),
    )


def build_cache(
  folder: pathlib.Path,
  count: int,
  render: Callable[[int], RenderedClip],
  processes: int,
) -> None:
  """Renders clips 0 to `count` into `folder`, which appears when it is whole.

  Processes that build the same folder at the same time do not disturb each
  other; the first to finish wins. A progress bar is shown on a terminal.

  Args:
    folder: a path that names the content; an existing one is taken as it is.
    count: number of clips, at least 1.
    render: picklable if `processes` > 1; a pure function of the index.
    processes: how many render; 1 stays in this process.

  Raises:
    OSError: there is no room for the clips.
  """
  if folder.is_dir():
    return
  folder.parent.mkdir(parents=True, exist_ok=True)
  unfinished = folder.parent / f".{folder.name}-{uuid.uuid4().hex}"
  unfinished.mkdir()
  try:
    _create_arrays(unfinished, count, render(0))
    _render_all(unfinished, count, render, processes)
    try:
      unfinished.replace(folder)
    except OSError:
      if not folder.is_dir():  # another reason than that we come second
        raise
  finally:
    shutil.rmtree(unfinished, ignore_errors=True)


def _create_arrays(folder, count, clip: RenderedClip):
  """Creates empty files for `count` clips like `clip`.

  The room is checked first: a disk that fills up under a memory map kills the
  process without a message.
  """
  arrays = {
    name: np.asarray(value)
    for name, value in clip._asdict().items()
    if value is not None
  }
  needed = count * sum(array.nbytes for array in arrays.values())
  free = shutil.disk_usage(folder).free
  if needed > free:
    raise OSError(
      f"{count} clips need {needed / 1e9:.2f} GB, "
      f"{folder.parent} has {free / 1e9:.2f} GB free"
    )
  for name, array in arrays.items():
    shape = (count, *array.shape)
    np.lib.format.open_memmap(folder / f"{name}.npy", "w+", array.dtype, shape)


def _render_all(folder, count, render, processes):
  chunks = [
    range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)
  ]
  with tqdm(total=count, desc="rendering", unit="clip", disable=None) as bar:
    if processes == 1 or len(chunks) == 1:
      for chunk in chunks:
        bar.update(_render_chunk(folder, render, chunk))
      return
    # A fork of a process that runs JAX may deadlock; spawn always works.
    with concurrent.futures.ProcessPoolExecutor(
      min(processes, len(chunks)), multiprocessing.get_context("spawn")
    ) as pool:
      jobs = [pool.submit(_render_chunk, folder, render, c) for c in chunks]
      for job in concurrent.futures.as_completed(jobs):
        bar.update(job.result())


def _render_chunk(folder, render, indices: range) -> int:
  """Writes some clips; returns how many."""
  arrays = _open_arrays(folder, "r+")
  for index in indices:
    clip = render(index)._asdict()
    for name, array in arrays.items():
      array[index] = clip[name]
  for array in arrays.values():
    array.flush()
  return len(indices)


def _open_arrays(folder, mode) -> dict[str, np.ndarray]:
  return {
    path.stem: np.load(path, mmap_mode=mode)
    for path in sorted(folder.glob("*.npy"))
  }
