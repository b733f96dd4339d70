"""Tracks of a long video, chunk by chunk, with ids that are carried on."""

from collections.abc import Callable, Iterator

import numpy as np

from trajvit.data.extract.link import link_labels


def chunked_tracks(
  read: Callable[[int, int], np.ndarray],
  num_frames: int,
  chunk: int,
  extract: Callable[[np.ndarray], np.ndarray],
) -> Iterator[np.ndarray]:
  """Yields the label maps of a video piece by piece, from start to end.

  A chunk begins with the last frame of the one before it. There its tracks meet
  the older ones, and two of them with an IoU of at least a half, paired one to
  one, are one track; the others of the new chunk get new numbers, so that a
  track that has ended stays ended. Of the shared frame what is yielded is the
  later chunk's, as in `build_graph`. A video that fits in one chunk has the
  tracks that `extract` gives.

  Args:
    read: (start, stop) -> frames [stop - start, H, W, 3] uint8; start is never
      less than the last frame read before.
    num_frames: T.
    chunk: frames a chunk, at least 2; the last one may be shorter.
    extract: frames -> labels [L, H, W] int32, no gaps; -1 is no track.

  Yields:
    [n, H, W] int32, the number of the track, from 0 up, or -1.

  Raises:
    ValueError: `chunk` is below 2.
  """
  if chunk < 2:
    raise ValueError(f"chunk must be at least 2 frames, got {chunk}")
  shared = None  # the last frame of the chunk before
  next_track = 0
  # The last chunk begins before the last frame; a single frame is one, too.
  for start in range(0, max(num_frames - 1, 1), chunk - 1):
    stop = min(start + chunk, num_frames)
    labels = extract(read(start, stop))
    numbers = np.full(int(labels.max(initial=-1)) + 2, -1, np.int32)
    if shared is not None:
      fresh, parent = link_labels(shared, labels[0])
      numbers[fresh] = parent
    new = np.flatnonzero(numbers[:-1] < 0)  # the last entry serves label -1
    numbers[new] = next_track + np.arange(len(new))
    next_track += len(new)
    labels = numbers[labels]
    shared = labels[-1].copy()
    yield labels if stop == num_frames else labels[:-1]
