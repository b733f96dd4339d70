"""Subobject tokens: what a crop's encoder sees, and the contract."""

import dataclasses

import numpy as np
import pytest
from grouping_contract import (
  GroupingContract,
  Step,
  array,
  build,
  check_permuted_tracks,
  check_slots,
  check_traces,
  compiled,
  linear,
  prepared,
)
from tiny import GRID, SIZE, TRACKS

from trajvit.ops.crops import crop_tracks
from trajvit.ops.position import fourier
from trajvit.ops.tracks import track_boxes

SPECS = {
  "frame": dict(patch=8, crop=8, depth=1),
  "track": dict(patch=8, crop=8, depth=1, scope="track", num_queries=2),
}
COUNTS = {"frame": 4 * TRACKS, "track": TRACKS}


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module", params=list(SPECS))
def scope(request):
  return request.param


@pytest.fixture(scope="module")
def step(scope):
  return Step(build("subobject", **SPECS[scope]))


def test_a_token_is_its_crop_read_alone(clip):
  """Crop by crop, patch by patch, from the parts of the tokenizer."""
  tokenizer = build("subobject", **SPECS["frame"])

  @compiled
  def run(clip):
    crops = crop_tracks(clip.frames, clip.tracks, TRACKS, 8)
    boxes = fourier(track_boxes(clip.tracks, TRACKS), 8)
    return tokenizer(clip)[0], crops, boxes

  tokens, (crops, inside), boxes = run(clip)
  read = compiled(lambda x, mask: tokenizer.read(x, mask))
  for b, t, m in [(0, 0, 0), (0, 1, 2), (1, 3, 1), (2, 2, 3), (0, 0, 4)]:
    slot = t * TRACKS + m
    crop, own = np.asarray(crops[b, t, m]), np.asarray(inside[b, t, m])
    assert tokens.mask[b, slot] == own.any() == (clip.tracks[b, t] == m).any()
    if not own.any():
      continue
    pixels = np.concatenate([crop, own[..., None]], axis=-1)
    patches = [pixels[i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
    x = linear(tokenizer.embed, np.stack([p.ravel() for p in patches]))
    x += array(tokenizer.place)
    seen = np.array([p[..., 3].any() for p in patches])
    vector = np.asarray(read(x[None].astype(np.float32), seen[None])[0, 0])
    box = linear(tokenizer.box, np.asarray(boxes[b, t, m]))
    expected = linear(tokenizer.join, vector) + box
    np.testing.assert_allclose(tokens.features[b, slot], expected, atol=1e-4)
    where = (np.argwhere(clip.tracks[b, t] == m) + 0.5) / GRID
    at = tokens.positions[b, slot]
    np.testing.assert_allclose(at, [(t + 0.5) / 4, *where.mean(0)], atol=1e-5)
    area = len(where) * (SIZE / GRID / 8) ** 2
    np.testing.assert_allclose(tokens.size[b, slot], area, rtol=1e-5)


def test_pixels_of_other_tracks_are_not_read(step, clip, scope):
  mine = np.repeat(np.repeat(clip.tracks == 1, 2, axis=2), 2, axis=3)
  frames = np.where(mine[..., None], clip.frames, 7).astype(np.float32)
  before, _ = step(clip)
  after, _ = step(dataclasses.replace(clip, frames=frames))
  slots = np.arange(COUNTS[scope]) % TRACKS == 1
  same = np.isclose(before.features, after.features, atol=1e-6).all(-1)
  real = np.asarray(before.mask)
  assert same[:, slots].all()
  assert not same[:, ~slots][real[:, ~slots]].any()


def test_slots(step, clip, scope):
  tokens, _ = step(clip)
  check_slots(tokens, COUNTS[scope])
  assert not tokens.mask[:, TRACKS - 1 :: TRACKS].any()
  owned = (clip.tracks >= 0).sum((1, 2, 3)) / (8 / (SIZE / GRID)) ** 2
  np.testing.assert_allclose(tokens.size.sum(1), owned, rtol=1e-5)


def test_permuting_tracks_permutes_tokens(step, clip, scope, rng):
  frames = 4 if scope == "frame" else 1
  check_permuted_tracks(step, clip, rng.permutation(TRACKS), frames)


class TestContract(GroupingContract):
  pass


def test_both_modes_of_flax(clip, nnx_mode):
  check_traces(build("subobject", **SPECS["track"]), clip, TRACKS)


def test_errors_say_what_was_expected(clip):
  tokenizer = build("subobject", patch=8)
  assert tokenizer.needs_tracks
  with pytest.raises(ValueError, match="needs clip.tracks, got None"):
    tokenizer(dataclasses.replace(clip, tracks=None))
  with pytest.raises(ValueError, match="'frame' or 'track', got 'clip'"):
    build("subobject", scope="clip")
  with pytest.raises(ValueError, match="must divide crop 16, got 5"):
    build("subobject", crop_patch=5)
