"""Mixes neighbours of a batch with each other: MixUp and CutMix for clips.

The examples of positions 2i and 2i + 1 (see `data.order`) are a pair, each the
other one's partner. What happens to a pair is drawn from the seed and its
position alone: processes that read an even number of rows agree, however many
there are.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trajvit.data.augment.ranges import check_number
from trajvit.data.example import Example
from trajvit.data.tracks import limit_tracks
from trajvit.types import Mix

_STREAM = 1  # keeps these random numbers apart from those of TrainOrder
_WHOLE = 256  # parts of which a blended pixel is made


@dataclasses.dataclass(frozen=True)
class Mixing:
  """How the clips of a training batch are mixed.

  Attributes:
    mixup: alpha of MixUp, whose share is Beta(alpha, alpha); 0 never blends.
    cutmix: alpha of CutMix, likewise; 0 never cuts.
    switch: share of the mixed pairs that are cut, where both are on.
    p: share of the pairs that are mixed.
  """

  mixup: float = 0.8
  cutmix: float = 1.0
  switch: float = 0.5
  p: float = 1.0

  def __post_init__(self):
    for name in "mixup", "cutmix":
      check_number(f"mix.{name}", getattr(self, name), 0, 1000)
    if not self.mixup and not self.cutmix:
      raise ValueError("mix needs a positive mixup or cutmix, got 0 for both")
    for name in "switch", "p":
      check_number(f"mix.{name}", getattr(self, name), 0, 1)

  def check(self, *, rows: int, with_text: bool) -> None:
    """Raises ValueError for batches that cannot be mixed.

    Args:
      rows: of a batch that one process reads; a pair is not torn apart.
      with_text: whether batches have captions, which a mixed clip has not.
    """
    if with_text:
      raise ValueError(
        "clips with captions cannot be mixed, since a mixed clip has no "
        "caption: leave out data.mix or data.text"
      )
    if rows % 2:
      raise ValueError(
        f"to mix clips, every process must read an even number of rows of a "
        f"batch, got {rows}"
      )


def mix_examples(
  examples: Sequence[Example],
  positions: Sequence[int],
  *,
  seed: int,
  mixing: Mixing,
  max_tracks: int,
) -> tuple[list[Example], Mix]:
  """Mixes every example with its neighbour.

  MixUp (arXiv:1710.09412) blends all frames in one proportion, in steps of
  1/256; a cell then has the track of the clip with the larger share, of equal
  ones its own. CutMix (arXiv:1905.04899) exchanges a rectangle of whole track
  cells, the same in all frames, together with its tracks, which are numbered
  after those around it; of more than M tracks the largest are kept.

  Args:
    examples: B of them, B even, of one shape.
    positions: [B], of which 2i is even and 2i + 1 the next.
    seed: of the run.
    mixing: what to do.
    max_tracks: M.

  Returns:
    The examples, new where mixed, otherwise as they were: times, names and
    labels are one's own. And a Mix of NumPy arrays.

  Raises:
    ValueError: the examples are not such pairs.
  """
  first, second = list(positions[::2]), list(positions[1::2])
  if any(p % 2 for p in first) or second != [p + 1 for p in first]:
    raise ValueError(
      f"positions must be pairs of an even number and the next, "
      f"got {list(positions)}"
    )
  mixed, shares = [], []
  for i, position in enumerate(first):
    pair = examples[2 * i], examples[2 * i + 1]
    if (pair[0].tracks is None) != (pair[1].tracks is None):
      raise ValueError(
        "of two clips that are mixed, both must have tracks or neither: "
        f"{pair[0].name}, {pair[1].name}"
      )
    entropy = np.random.SeedSequence((seed, position), spawn_key=(_STREAM,))
    *pair, share = _mix_pair(
      *pair, np.random.default_rng(entropy), mixing, max_tracks
    )
    mixed += pair
    shares += [share, share]
  labels = [x.label for x in examples]
  partners = [labels[i ^ 1] for i in range(len(labels))]
  return mixed, Mix(
    label=np.array(partners, np.int32), share=np.array(shares, np.float32)
  )


def _mix_pair(one, two, rng, mixing, max_tracks):
  """Returns the two examples and the share that each has of itself."""
  if rng.random() >= mixing.p:
    return one, two, 1.0
  cut = not mixing.mixup or bool(mixing.cutmix and rng.random() < mixing.switch)
  alpha = mixing.cutmix if cut else mixing.mixup
  share = rng.beta(alpha, alpha)
  if not cut:
    own = round(_WHOLE * share)
    one, two = blended(one, two, own), blended(two, one, own)
    return one, two, own / _WHOLE
  grid = one.frames.shape[1] if one.tracks is None else one.tracks.shape[1]
  box = draw_box(grid, 1 - share, rng)
  one, two = (
    pasted(*pair, box, grid, max_tracks) for pair in ((one, two), (two, one))
  )
  top, left, bottom, right = box
  return one, two, 1 - (bottom - top) * (right - left) / grid**2


def blended(own: Example, other: Example, parts: int) -> Example:
  """Returns `own` with `parts` of 256 its own pixels, the rest the other's."""
  frames = np.empty_like(own.frames)
  for out, a, b in zip(frames, own.frames, other.frames, strict=True):
    mixed = a * np.uint16(parts)  # at most 255 * 256 + 128, in uint16
    mixed += b * np.uint16(_WHOLE - parts)
    mixed += np.uint16(_WHOLE // 2)
    out[...] = mixed >> 8
  larger = own if 2 * parts >= _WHOLE else other
  return dataclasses.replace(
    own,
    frames=frames,
    tracks=larger.tracks,
    dropped_tracks=larger.dropped_tracks,
  )


def draw_box(
  grid: int, area: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
  """Draws a square of a share of the picture, its centre anywhere.

  Args:
    grid: cells along a side of the picture.
    area: share of the picture that the square covers where it fits.
    rng: draws the centre.

  Returns:
    (top, left, bottom, right) in cells, ends excluded; what would lie outside
    of the picture is cut off.
  """
  side = round(grid * np.sqrt(area))
  start = rng.integers(grid, size=2) - side // 2
  ends = np.concatenate([start, start + side])
  return tuple(int(end) for end in np.clip(ends, 0, grid))


def pasted(
  own: Example,
  other: Example,
  box: tuple[int, int, int, int],
  grid: int,
  max_tracks: int,
) -> Example:
  """Returns `own` with what the other one shows in `box`, see `draw_box`."""
  pixels = own.frames.shape[1] // grid
  rows, columns = (slice(*box[i::2]) for i in range(2))
  fine_rows, fine_columns = (
    slice(s.start * pixels, s.stop * pixels) for s in (rows, columns)
  )
  frames = own.frames.copy()
  frames[:, fine_rows, fine_columns] = other.frames[:, fine_rows, fine_columns]
  if own.tracks is None:
    return dataclasses.replace(own, frames=frames)
  tracks = own.tracks.copy()
  inside = other.tracks[:, rows, columns]
  count = tracks.max(initial=-1) + 1
  tracks[:, rows, columns] = np.where(inside < 0, -1, inside + count)
  tracks, dropped = limit_tracks(tracks, max_tracks)
  dropped += own.dropped_tracks
  return dataclasses.replace(
    own, frames=frames, tracks=tracks, dropped_tracks=dropped
  )
