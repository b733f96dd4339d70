"""Packing planned by the loader, which knows the token counts beforehand.

The same best fit as `ops.packing.plan`, in NumPy: a clip gets the same slots
whether the loader plans or the device. The device is spared a loop over the
clips in every step.
"""

import dataclasses

import numpy as np

from trajvit.data.changed_patches import ChangedPatches
from trajvit.table import check_arguments
from trajvit.types import Clip, Layout, PackedGroup


class Packing:
  """How a loader packs its batches.

  Attributes:
    group: size of the groups.
  """

  def __init__(
    self,
    *,
    tokens: str | int,
    registers: int = 1,
    clips: int,
    rows: int,
    length: int,
    run_length: dict | None = None,
  ):
    """Checks the arguments.

    Args:
      tokens: tokens of a clip: "tracks", as many as it has tracks;
        "run_length", as many as the tokenizer of that name keeps; or a number.
      registers: class and register tokens of the encoder, which come on top.
      clips: see PackedGroup.
      rows: see PackedGroup.
      length: see PackedGroup.
      run_length: with those tokens, arguments of ChangedPatches: those of the
        tokenizer, and the normalization of the model. None are its defaults.

    Raises:
      ValueError: a number out of range, or `run_length` with other tokens.
    """
    number = isinstance(tokens, int) and tokens > 0
    if tokens not in ("tracks", "run_length") and not number:
      raise ValueError(
        "packing.tokens must be 'tracks', 'run_length' or at least 1, got "
        f"{tokens!r}"
      )
    if run_length is not None and tokens != "run_length":
      raise ValueError(
        "packing.run_length is for tokens 'run_length', got tokens "
        f"{tokens!r} and run_length {run_length}"
      )
    if registers < 0:
      raise ValueError(f"packing.registers must be 0 or more, got {registers}")
    self.group = PackedGroup(clips, rows, length)
    self._tokens, self._registers = tokens, registers
    self._changed = None
    if tokens == "run_length":
      run_length = run_length or {}
      check_arguments("packing.run_length", ChangedPatches, run_length)
      self._changed = ChangedPatches(**run_length)

  def layout(self, clip: Clip, max_tracks: int) -> Layout:
    """Returns where the clips of a batch go; see `counts`."""
    return plan(self.counts(clip, max_tracks), self.group)

  def counts(self, clip: Clip, max_tracks: int) -> np.ndarray:
    """Returns [B] integers, the slots that each clip of a batch needs.

    Args:
      clip: B clips, in NumPy.
      max_tracks: M, tracks that the tokenizer has slots for.

    Raises:
      ValueError: tokens are "tracks" and the clips have none.
    """
    counts = np.full(len(clip.frames), self._registers)
    if self._changed is not None:
      counts += self._changed.count(clip)
    elif self._tokens != "tracks":
      counts += self._tokens
    elif clip.tracks is None:
      raise ValueError("packing.tokens is 'tracks', and the clips have none")
    else:
      counts += count_tracks(clip.tracks, clip.frame_mask, max_tracks)
    return counts


def count_tracks(
  tracks: np.ndarray, frame_mask: np.ndarray | None, max_tracks: int
) -> np.ndarray:
  """Returns [B] int64, how many tracks have a cell in a real frame.

  Args:
    tracks: [B, T, h, w] integers; what is not in [0, M) is no track.
    frame_mask: [B, T] bool, or None.
    max_tracks: M.
  """
  real = (tracks >= 0) & (tracks < max_tracks)
  if frame_mask is not None:
    real &= frame_mask[:, :, None, None]
  labels = np.where(real, tracks, max_tracks).reshape(len(tracks), -1)
  present = np.zeros((len(tracks), max_tracks + 1), bool)
  np.put_along_axis(present, labels, True, axis=1)
  return present[:, :max_tracks].sum(1)


def plan(counts: np.ndarray, group: PackedGroup) -> Layout:
  """Returns the layout that `ops.packing.plan` would; see there.

  Args:
    counts: [B] integers, real tokens of each clip.
    group: size of the groups.
  """
  row, start = np.zeros((2, len(counts)), np.int32)
  for first in range(0, len(counts), group.clips):
    room = np.full(group.rows, group.length)
    members = np.asarray(counts[first : first + group.clips])
    for i in np.argsort(-members, kind="stable"):
      # The tightest row with room for it, else the one with most room.
      fits = room >= members[i]
      tightest = np.where(fits, room, group.length + 1).argmin()
      best = tightest if fits.any() else room.argmax()
      row[first + i], start[first + i] = best, group.length - room[best]
      room[best] = max(room[best] - members[i], 0)
  return Layout(row, start, group)


@dataclasses.dataclass(frozen=True)
class Packed:
  """How well a layout suits its clips.

  Attributes:
    fill: share of the slots that hold a token.
    overflow: share of the tokens that find no slot.
  """

  fill: float
  overflow: float


def measure(counts: np.ndarray, layout: Layout) -> Packed:
  """Returns how well a layout suits the counts that `plan` made it for.

  Args:
    counts: [B] integers.
    layout: of the B clips, in NumPy.
  """
  group = layout.group
  placed = np.minimum(counts, group.length - layout.start).sum()
  slots = -(-len(counts) // group.clips) * group.rows * group.length
  return Packed(placed / slots, 1 - placed / max(np.sum(counts), 1))


def suggest(
  counts: np.ndarray,
  *,
  clips: int,
  overflow: float = 1e-3,
  spare: float = 0.02,
  drawn: int = 8192,
) -> PackedGroup:
  """Returns the group that holds clips of such counts in few slots.

  Attention compares all slots of a row, so short rows cost less, and long ones
  are filled more evenly: the shortest wins whose groups have at most `spare`
  more slots than the fewest. The larger a group, the less its total varies and
  the fewer slots must be kept free: 64 clips and more pack well.

  Args:
    counts: [n] integers, tokens of clips, registers included.
    clips: clips in a group.
    overflow: the share of tokens that may find no slot, over all groups tried.
    spare: the share of slots given for shorter rows.
    drawn: about how many clips are drawn from `counts` into groups to try, the
      same ones every time.

  Raises:
    ValueError: no count above 0, or a share that is not in (0, 1).
  """
  counts = np.asarray(counts)
  if not counts.size or counts.max() < 1:
    raise ValueError("counts must have a clip with a token, got none")
  for name, share in (("overflow", overflow), ("spare", spare)):
    if not 0 < share < 1:
      raise ValueError(f"{name} must be in (0, 1), got {share}")
  trials = max(drawn // clips, 1)
  tried = np.random.default_rng(0).choice(counts, trials * clips)
  found = [
    group
    for length in _lengths(counts, clips)
    if (group := _fewest_rows(tried, clips, length, overflow))
  ]
  fewest = min(group.rows * group.length for group in found)
  return next(
    group
    for group in found
    if group.rows * group.length <= (1 + spare) * fewest
  )


def _lengths(counts, clips) -> list[int]:
  """Lengths to try, ascending, each about a sixth longer than the last."""
  longest = max(int(counts.max()), int(np.ceil(counts.mean() * clips)))
  steps = 8 * 1.17 ** np.arange(64)
  tried = {int(-(-step // 8) * 8) for step in steps if step <= longest}
  return sorted(tried | {-(-int(counts.max()) // 8) * 8})


def _fewest_rows(tried, clips, length, overflow) -> PackedGroup | None:
  """The group of the fewest rows of a length, if any number of rows will do."""
  allowed = overflow * tried.sum()
  if np.maximum(tried - length, 0).sum() > allowed:
    return None
  totals = tried.reshape(-1, clips).sum(1)
  rows = 1
  # The sums alone say for most numbers of rows that they will not do.
  while np.maximum(totals - rows * length, 0).sum() > allowed:
    rows += 1
  while True:
    group = PackedGroup(clips, rows, length)
    if measure(tried, plan(tried, group)).overflow <= overflow:
      return group
    rows += 1
