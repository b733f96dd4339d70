"""Tracks of all frames of a video file, in one pass and in bounded memory."""

from collections.abc import Callable, Iterator

import numpy as np

from trajvit.data.extract.chunks import chunked_tracks
from trajvit.data.sidecar_writer import SidecarWriter
from trajvit.data.video_reader import open_video


def extract_video(
  path: str,
  pair: tuple[str, str],
  extract: Callable[[np.ndarray], np.ndarray],
  *,
  shape: tuple[int, int, int],
  chunk: int,
  chunk_tracks: int,
  max_tracks: int,
) -> tuple[int, int]:
  """Writes the sidecar pair of all frames of a video.

  Args:
    path: the video.
    pair: where the mask and the graph go.
    extract: frames [L, H, W, 3] uint8 -> labels [L, H, W] int32, no gaps.
    shape: (T, H, W), the frames of the video and the size to look at them.
    chunk: L, frames looked at together; see `chunked_tracks`.
    chunk_tracks: how many tracks `extract` finds at most.
    max_tracks: M of the video, which keeps its largest tracks.

  Returns:
    How many tracks were written and how many more there were.

  Raises:
    BrokenClip: the video cannot be read to its end.
    OSError: a file cannot be written.
  """
  writer = SidecarWriter(
    *pair, shape, frame_tracks=chunk_tracks, max_tracks=max_tracks
  )
  with writer:
    for labels in _video_tracks(path, shape, chunk, extract):
      writer.append(labels)
  return writer.tracks, writer.dropped


def _video_tracks(path, shape, chunk, extract) -> Iterator[np.ndarray]:
  """Opens the video here, where an error in writing cannot be taken for its."""
  with open_video(path) as video:

    def read(start, stop):
      return video.read(np.arange(start, stop), shape[1:])[0]

    yield from chunked_tracks(read, shape[0], chunk, extract)
