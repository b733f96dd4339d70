"""Proposed sizes: they hold the clips, and a config can have them."""

import re

import numpy as np
import pytest
from ml_collections import ConfigDict

from trajvit.bench.token_counts import TRACKS
from trajvit.data.check.proposal import config_lines, propose
from trajvit.data.ladder import ladder_fill
from trajvit.data.packing import Packing

VIDEOS = TRACKS["videos"]


@pytest.fixture(scope="module")
def proposal():
  return propose(VIDEOS, clips=32, registers=4)


def test_sizes_of_measured_counts(proposal):
  limit = proposal.max_tracks
  dropped = [
    np.maximum(VIDEOS - m, 0).sum() / VIDEOS.sum() for m in (limit, limit - 8)
  ]
  assert limit % 8 == 0 and dropped[0] <= 1e-3 < dropped[1]
  assert proposal.dropped == pytest.approx(dropped[0])
  counts = np.minimum(VIDEOS, limit) + 4
  assert proposal.ladder[-1] >= counts.max()
  assert proposal.ladder_fill == ladder_fill(counts, proposal.ladder)
  assert proposal.padded_fill < proposal.ladder_fill < 1
  # Packed on clips that were not those which the group was chosen for.
  assert proposal.packed.overflow < 5e-3
  assert proposal.packed.fill > 2 * proposal.padded_fill


def test_the_lines_are_a_config(proposal):
  config = ConfigDict({"data": {"clip": {"max_tracks": 0}}})
  config.data.packing = None
  exec(config_lines(proposal), {"config": config})
  assert config.data.clip.max_tracks == proposal.max_tracks
  packing = Packing(**config.data.packing)
  assert packing.group == proposal.group and packing.group.clips == 32
  assert config.data.packing["registers"] == 4


@pytest.mark.parametrize(
  ("tracks", "options", "message"),
  [
    ([], {}, "tracks must have a clip with a track, got none"),
    ([0, 0], {}, "tracks must have a clip with a track, got none"),
    ([1], {"clips": 0}, "clips must be at least 1, got 0"),
    ([1], {"registers": -1}, "registers must be at least 0, got -1"),
  ],
)
def test_refused(tracks, options, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    propose(tracks, **options)
