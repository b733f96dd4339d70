"""The baseline of the benchmark of data: a PyTorch Dataset and its DataLoader.

Written the way such datasets are: decord or PyAV decodes, torch crops and
resizes uint8 frames, NumPy loads the region ids, and clips are padded to one
size. Which frames and which part of the picture are drawn is the law of our
loader, by its own functions.
"""

import importlib
import json
import pathlib
from collections.abc import Callable, Iterator

import av
import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from trajvit.data.example import ClipSpec
from trajvit.data.sampling import middle, random_segment
from trajvit.data.tracks import sidecar_paths
from trajvit.data.transforms import View, crop_flip, whole

# (path, from the number of frames to indices) -> indices, frames [T, H, W, 3].
Decoder = Callable[[str, Callable], tuple[np.ndarray, np.ndarray]]


def decode_decord(path, choose):
  """Decodes with decord, which seeks by itself."""
  decord = importlib.import_module("decord")
  video = decord.VideoReader(path, num_threads=1)
  indices = choose(len(video))
  return indices, video.get_batch(indices).asnumpy()


def decode_pyav(path, choose):
  """Decodes with PyAV, from the first frame to the last one wanted."""
  with av.open(path) as container:
    stream = container.streams.video[0]
    indices = choose(stream.frames)
    wanted, frames = set(indices.tolist()), {}
    for i, frame in enumerate(container.decode(stream)):
      if i in wanted:
        frames[i] = frame.to_ndarray(format="rgb24")
        if len(frames) == len(wanted):
          break
  return indices, np.stack([frames[i] for i in indices.tolist()])


DECODERS = {"decord": decode_decord, "pyav": decode_pyav}


class Clips(Dataset):
  """Clips of a manifest with tracks, for training or evaluation."""

  def __init__(
    self,
    manifest: pathlib.Path,
    clip: ClipSpec,
    decode: Decoder,
    *,
    train: bool,
  ):
    """Reads the manifest, of videos with a pair of sidecar files each.

    Args:
      manifest: JSON.
      clip: its frames, size, track_grid and max_tracks.
      decode: see `Decoder`.
      train: frames at random places and a random view, or neither.
    """
    rows = json.loads(manifest.read_text())
    self._paths = [str(manifest.parent / row["video"]) for row in rows]
    self._captions = [row["caption"] for row in rows]
    self._clip, self._decode, self._train = clip, decode, train

  def __len__(self):
    return len(self._paths)

  def __getitem__(self, index):
    """Returns frames [T, S, S, 3] uint8, tracks [T, g, g], graph and caption.

    Tracks are int32, the row of the graph or -1; the graph is padded to
    [M, T].
    """
    path = self._paths[index]
    rng = np.random.default_rng(int(torch.randint(2**31, ())))
    sample, look = (
      (random_segment, crop_flip) if self._train else (middle, whole)
    )
    indices, frames = self._decode(
      path, lambda count: sample(count, self._clip.frames, rng)
    )
    view = look(*frames.shape[1:3], rng)
    mask_path, graph_path = sidecar_paths(path)
    mask = np.load(mask_path)["arr_0"][indices]
    graph = np.load(graph_path)["tensor"][:, indices]
    padded = np.zeros((self._clip.max_tracks, self._clip.frames), np.int64)
    padded[: len(graph)] = graph[: self._clip.max_tracks]
    return (
      _resized(torch.from_numpy(frames), view, self._clip.size),
      _tracks(mask, padded, view, self._clip.track_grid),
      padded,
      self._captions[index],
    )


def _resized(frames, view: View, size):
  """Returns the view of frames [T, H, W, 3] as [T, size, size, 3] uint8."""
  frames = frames.permute(0, 3, 1, 2)  # in memory channels stay last: fast
  frames = functional.interpolate(
    _cropped(frames, view), (size, size), mode="bilinear", antialias=True
  )
  if view.flip:
    frames = frames.flip(-1)
  return frames.permute(0, 2, 3, 1).contiguous()


def _tracks(mask, graph, view: View, grid):
  """Returns [T, grid, grid] int32, the row of the graph or -1."""
  mask = _cropped(torch.from_numpy(mask)[:, None], view)
  mask = functional.interpolate(mask, (grid, grid), mode="nearest")[:, 0]
  if view.flip:
    mask = mask.flip(-1)
  tracks = torch.full(mask.shape, -1, dtype=torch.int32)
  for t in range(len(mask)):
    rows = np.full(256, -1, np.int32)
    present = graph[:, t].nonzero()[0]
    rows[graph[present, t]] = present
    tracks[t] = torch.from_numpy(rows)[mask[t].long()]
  return tracks


def _cropped(frames, view):
  bottom, right = view.top + view.height, view.left + view.width
  return frames[..., view.top : bottom, view.left : right]


def batches(clips: Clips, *, batch_size: int, workers: int) -> Iterator:
  """Yields whole, shuffled batches without end, an epoch after the other.

  Torch is held to one thread, as it is in the processes of a DataLoader.
  """
  torch.set_num_threads(1)
  loader = DataLoader(
    clips,
    batch_size=batch_size,
    shuffle=True,
    drop_last=True,
    num_workers=workers,
    persistent_workers=workers > 0,
  )
  while True:
    yield from loader
