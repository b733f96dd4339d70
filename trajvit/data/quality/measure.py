"""What can be said of the tracks of one clip, frame by frame.

Label maps come in pieces, so that of a long video few frames are held.
"""

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np

from trajvit.data.extract.link import link_labels, partners
from trajvit.data.transforms import nearest_indices


@dataclasses.dataclass(frozen=True)
class Quality:
  """Tracks by themselves; no number of these alone is good or bad.

  Attributes:
    frames: T.
    tracks: how many there are.
    coverage: share of all pixels that have a track.
    track_frames: in how many frames a track is seen, mean over tracks.
    track_share: the same as a share of T.
    begin_late: share of tracks that are not in the first frame. What comes into
      view begins late, and so does a track that was lost and found again.
    smallest: the pixels of the smallest track, mean over the frames that it is
      seen in, as a share of a frame.
  """

  frames: int
  tracks: int
  coverage: float
  track_frames: float
  track_share: float
  begin_late: float
  smallest: float


@dataclasses.dataclass(frozen=True)
class Agreement:
  """Tracks compared with those of a reference.

  Attributes:
    veq: SQ * RQ of tubes through the clip, as the grouping evaluator has it in
      its mode "standard".
    followed: of all masks of the reference, one a track and frame, the share
      that has a track on it: an IoU of at least a half, paired one to one.
    switches: how often the track on a reference track is another one than the
      last that was on it.
    switches_per_track: the same, by the number of reference tracks.
  """

  veq: float
  followed: float
  switches: int
  switches_per_track: float


def measure(pieces: Iterable[np.ndarray]) -> Quality:
  """Returns the Quality of a label map.

  Args:
    pieces: [n, H, W] integers each, the track of every pixel or -1; together T
      frames. Without a track all means over tracks are 0.
  """
  frames = pixels = 0
  area, seen, late = (collections.Counter() for _ in range(3))
  for labels in pieces:
    for frame in labels:
      present, count = np.unique(frame, return_counts=True)
      for track, size in zip(present.tolist(), count.tolist(), strict=True):
        if track >= 0:
          late[track] += 0 if track in seen else frames > 0
          area[track] += size
          seen[track] += 1
      frames += 1
      pixels += frame.size
  mean_frames = sum(seen.values()) / max(len(seen), 1)
  smallest = min((area[track] / seen[track] for track in seen), default=0.0)
  return Quality(
    frames=frames,
    tracks=len(seen),
    coverage=sum(area.values()) / max(pixels, 1),
    track_frames=mean_frames,
    track_share=mean_frames / max(frames, 1),
    begin_late=sum(late.values()) / max(len(seen), 1),
    smallest=smallest * frames / max(pixels, 1),
  )


def compare(
  pieces: Iterable[np.ndarray], reference: Iterable[np.ndarray]
) -> Agreement:
  """Returns how far tracks agree with those of a reference.

  Args:
    pieces: [n, h, w] integers each, the track of every pixel or -1.
    reference: [n, H, W] likewise, in pieces of the same lengths. Tracks are
      brought to its grid, each pixel taking the source pixel floor(i * in /
      out).

  Raises:
    ValueError: the two have different numbers of frames.
  """
  shared, own, true = (collections.Counter() for _ in range(3))
  last, masks, followed, switches = {}, 0, 0, 0
  for labels, truth in zip(pieces, reference, strict=True):
    if len(labels) != len(truth):
      raise ValueError(f"{len(labels)} frames, of the reference {len(truth)}")
    rows = nearest_indices(labels.shape[1], truth.shape[1])
    columns = nearest_indices(labels.shape[2], truth.shape[2])
    for found, wanted in zip(
      labels[:, rows[:, None], columns], truth, strict=True
    ):
      _count(found, wanted, shared, own, true)
      present, partner = link_labels(found, wanted)
      masks += len(present)
      for track, on_it in zip(present.tolist(), partner.tolist(), strict=True):
        if on_it >= 0:
          followed += 1
          switches += last.get(track, on_it) != on_it
          last[track] = on_it
  return Agreement(
    veq=_veq(shared, own, true),
    followed=followed / max(masks, 1),
    switches=switches,
    switches_per_track=switches / max(len(true), 1),
  )


def _count(found, wanted, shared, own, true) -> None:
  """Adds the pixels of a frame to those of pairs, tracks and true tracks."""
  pairs = np.stack([found.ravel(), wanted.ravel()]).astype(np.int64)
  pairs, count = np.unique(pairs, axis=1, return_counts=True)
  for (a, b), size in zip(pairs.T.tolist(), count.tolist(), strict=True):
    if a >= 0:
      own[a] += size
    if b >= 0:
      true[b] += size
    if a >= 0 and b >= 0:
      shared[a, b] += size


def _veq(shared, own, true) -> float:
  """2 * sum of the matched IoUs / (P + G), 0 without a tube."""
  row = {track: i for i, track in enumerate(sorted(own))}
  column = {track: i for i, track in enumerate(sorted(true))}
  overlap = np.zeros((len(row), len(column)))
  for (a, b), size in shared.items():
    overlap[row[a], column[b]] = size / (own[a] + true[b] - size)
  partner = partners(overlap)
  matched = np.flatnonzero(partner >= 0)
  total = float(overlap[partner[matched], matched].sum())
  return 2 * total / max(len(row) + len(column), 1)
