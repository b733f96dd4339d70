"""DART's regions against loops over patches, and the contract of tokenizers."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from grouping_contract import (
  GroupingContract,
  Step,
  build,
  check_slots,
  check_traces,
  compiled,
  prepared,
)

from trajvit.tokenizers.dart import DartTokenizer

SPECS = {
  "frame": dict(patch=(1, 8, 8), num_tokens=6, rows=3),
  "clip": dict(patch=(1, 8, 8), num_tokens=10, scope="clip"),
}
COUNTS = {"frame": 4 * 6, "clip": 10}


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module", params=list(SPECS))
def scope(request):
  return request.param


@pytest.fixture(scope="module")
def step(scope):
  return Step(build("dart", **SPECS[scope]))


def slow_edges(mass, count):
  """Walks along the cells until each share of the mass has been passed."""
  edges = [0.0]
  for i in range(1, count):
    left = i / count * mass.sum()
    for j, cell in enumerate(mass):
      if left <= cell:
        edges.append(j + left / cell)
        break
      left -= cell
  return [*edges, float(len(mass))]


def shared(start, stop, cell):
  """The length that [start, stop) and [cell, cell + 1) share."""
  return max(min(stop, cell + 1) - max(start, cell), 0)


def slow_regions(score, rows, count):
  """Areas [K, t, h, w] that the regions of a strip of frames cover."""
  frames, height, width = score.shape
  cuts = [slow_edges(s.sum(-1), rows) for s in score]
  strip = []
  for t in range(frames):
    for start, stop in zip(cuts[t][:-1], cuts[t][1:], strict=True):
      for x in range(width):
        shares = [shared(start, stop, y) for y in range(height)]
        strip.append(shares @ score[t, :, x] / (stop - start))
  edges = slow_edges(np.array(strip), count)
  area = np.zeros((count, frames, height, width))
  for k, t, r, y, x in np.ndindex(count, frames, rows, height, width):
    along = (t * rows + r) * width + x
    covered = shared(edges[k], edges[k + 1], along)
    area[k, t, y, x] += covered * shared(cuts[t][r], cuts[t][r + 1], y)
  return area


def test_equals_regions_cut_patch_by_patch(step, clip, scope):
  clip = dataclasses.replace(clip, frame_mask=None)
  tokenizer = build("dart", **SPECS[scope])

  @compiled
  def run(clip):
    patches, _ = tokenizer.patches(clip)
    features = patches.features
    features += tokenizer.mlp(tokenizer.norm(features))
    return tokenizer(clip), features, patches.positions

  (tokens, aux), features, places = run(clip)
  score = np.asarray(aux["score"], np.float64)
  assert score.min() >= 0.1 and score.max() <= 1.1 and score.std() > 0.01
  spec = SPECS[scope]
  for b in range(3):
    if scope == "frame":
      parts = [slow_regions(score[b, t : t + 1], 3, 6) for t in range(4)]
      area = np.zeros((4, 6, 4, 4, 4))
      for t in range(4):
        area[t, :, t] = parts[t][:, 0]
      area = area.reshape(24, 4, 4, 4)
    else:
      area = slow_regions(score[b], tokenizer.rows, spec["num_tokens"])
    area = area.reshape(len(area), -1)
    size = area.sum(1)
    np.testing.assert_allclose(tokens.size[b], size, rtol=1e-3)
    for got, content in (
      (tokens.features, features),
      (tokens.positions, places),
    ):
      expected = area @ np.asarray(content[b]) / size[:, None]
      np.testing.assert_allclose(got[b], expected, atol=1e-3)
    owner = np.asarray(aux["assignment"][b]).reshape(-1)
    assert (area[owner, np.arange(64)] > 0).all()


def run_scored(monkeypatch, clip, score, **options):
  """Tokens and aux on 8 x 8 patches with the given scores [t, h, w]."""
  score = np.asarray(score, np.float32)
  monkeypatch.setattr(
    DartTokenizer, "_score", lambda self, x, real: jnp.where(real, score, 0)
  )
  tokenizer = build("dart", patch=(1, 4, 4), **options)
  return compiled(lambda clip: tokenizer(clip))(clip)


def test_where_scores_are_high_regions_are_small_and_many(clip, monkeypatch):
  score = np.full((4, 8, 8), 0.1)
  score[:, 4:, :4] = 1
  _, aux = run_scored(monkeypatch, clip, score, num_tokens=9)
  corner = np.unique(aux["assignment"][:, :, 4:, :4])
  rest = np.unique(aux["assignment"][:, :, :4])
  assert len(corner) > len(rest)
  rows = np.asarray(aux["row_edges"][0, 0])
  assert rows[2] > 4  # two of three rows lie in the lower half


def test_a_frame_that_scores_high_gets_the_tokens_of_others(clip, monkeypatch):
  score = np.full((4, 8, 8), 0.1)
  score[2] = 1
  tokens, _ = run_scored(monkeypatch, clip, score, num_tokens=16, scope="clip")
  frame = (np.asarray(tokens.positions[0, :, 0]) * 4).astype(int)
  counts = np.bincount(frame, minlength=4)
  assert counts[2] >= 10 and counts.sum() == 16


def test_sizes_add_up_to_the_real_patches(step, clip):
  mask = clip.frame_mask.copy()
  mask[1, 1:] = False
  tokens, aux = step(dataclasses.replace(clip, frame_mask=mask))
  np.testing.assert_allclose(tokens.size.sum(1), [64, 16, 64], rtol=1e-5)
  for edges in (aux["row_edges"], aux["edges"]):
    assert (np.diff(edges) >= 0).all()


def test_slots(step, clip, scope):
  check_slots(step(clip)[0], COUNTS[scope])


class TestContract(GroupingContract):
  pass


def test_both_modes_of_flax(clip, nnx_mode):
  check_traces(build("dart", **SPECS["clip"]), clip, COUNTS["clip"])


def test_errors_say_what_was_expected():
  with pytest.raises(ValueError, match="'frame' or 'clip', got 'video'"):
    build("dart", scope="video")
  with pytest.raises(ValueError, match="at least 1, got 0 and 1"):
    build("dart", num_tokens=0)
