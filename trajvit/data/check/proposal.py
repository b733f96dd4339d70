"""The sizes of a config that depend on how many tracks clips have."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from trajvit.data.ladder import ladder_fill, suggest_ladder
from trajvit.data.packing import Packed, measure, plan, suggest
from trajvit.types import PackedGroup

_MULTIPLE = 8  # what numbers of tokens are rounded up to
_LOST = 1e-3  # the share of all tracks that may be dropped
_TRIED = 4096  # clips that groups are tried on


@dataclasses.dataclass(frozen=True)
class Proposal:
  """Sizes that suit some clips, and how well they do.

  Attributes:
    max_tracks: M; the largest tracks of a clip are kept.
    dropped: the share of all tracks that are above M.
    group: of packed clips.
    packed: how full its rows are, on clips drawn at random.
    ladder: sizes to pad clips to that are not packed.
    ladder_fill: the share of their slots that hold a token.
    padded_fill: that of the longest size alone.
    registers: class and register tokens, which are counted in.
  """

  max_tracks: int
  dropped: float
  group: PackedGroup
  packed: Packed
  ladder: tuple[int, ...]
  ladder_fill: float
  padded_fill: float
  registers: int


def propose(
  tracks: Sequence[int], *, clips: int = 64, registers: int = 1
) -> Proposal:
  """Returns sizes for clips of so many tracks.

  M is the smallest multiple of 8 by which at most one track in a thousand is
  dropped. See `packing.suggest` for the group and `suggest_ladder`.

  Args:
    tracks: [n] of clips, at least one of them above 0.
    clips: in a packed group.
    registers: class and register tokens of the encoder.

  Raises:
    ValueError: no tracks, or `clips` is below 1, or `registers` below 0.
  """
  tracks = np.asarray(tracks)
  if not tracks.size or tracks.max() < 1:
    raise ValueError("tracks must have a clip with a track, got none")
  for name, value, least in ("clips", clips, 1), ("registers", registers, 0):
    if value < least:
      raise ValueError(f"{name} must be at least {least}, got {value}")
  max_tracks = _MULTIPLE
  while _dropped(tracks, max_tracks) > _LOST:
    max_tracks += _MULTIPLE
  counts = np.minimum(tracks, max_tracks) + registers
  group = suggest(counts, clips=clips, drawn=_TRIED)
  trials = max(_TRIED // clips, 1)
  tried = np.random.default_rng(1).choice(counts, trials * clips)
  ladder = suggest_ladder(counts, multiple=_MULTIPLE)
  return Proposal(
    max_tracks=max_tracks,
    dropped=_dropped(tracks, max_tracks),
    group=group,
    packed=measure(tried, plan(tried, group)),
    ladder=ladder,
    ladder_fill=ladder_fill(counts, ladder),
    padded_fill=ladder_fill(counts, ladder[-1:]),
    registers=registers,
  )


def config_lines(proposal: Proposal) -> str:
  """Returns a proposal as lines to paste into a config."""
  group, packed = proposal.group, proposal.packed
  lines = [
    f"# {proposal.dropped:.2%} of the tracks are dropped.",
    f"config.data.clip.max_tracks = {proposal.max_tracks}",
    f"# Packed: {packed.fill:.1%} of the slots hold a token, "
    f"{packed.overflow:.2%} of the tokens find none.",
    "config.data.packing = dict(",
    f'  tokens="tracks", registers={proposal.registers}, '
    f"clips={group.clips}, rows={group.rows}, length={group.length}",
    ")",
    f"# Padded to the next of {list(proposal.ladder)} in place of packed: "
    f"{proposal.ladder_fill:.1%} of the slots hold a token,",
    f"# all padded to {proposal.ladder[-1]}: {proposal.padded_fill:.1%}.",
  ]
  return "\n".join(lines)


def _dropped(tracks, max_tracks) -> float:
  return float(np.maximum(tracks - max_tracks, 0).sum() / tracks.sum())
