"""Tokenizers that drop patches by their pixels: the contract, and each rule."""

import math

import numpy as np
import pytest
from grouping_contract import (
  GroupingContract,
  Step,
  build,
  check_slots,
  compiled,
  prepared,
)
from tiny import CLIP_SHAPE, FRAMES, SIZE, drawn, make_clip

from trajvit.data.changed_patches import ChangedPatches
from trajvit.models.normalization import normalize
from trajvit.pixels import NORMALIZATIONS, ChangeRule
from trajvit.tokenizers.vwt import Words
from trajvit.types import Clip

PATCH = (2, 16, 16)  # a grid of 2 x 2 x 2
PIXELS = 3 * 2 * 16 * 16
WORDS = np.random.default_rng(1).normal(size=(3, PIXELS))
# One for each way through the base: the others differ in `choose` alone.
CASES = {
  "run_length": dict(lengths=True),
  "grt": dict(fuse=0.0),
  "vwt_inter": dict(words=WORDS, threshold=1.0),
}


def made(name, **options):
  """A tokenizer whose parameters are drawn, and its compiled call."""
  tokenizer = drawn(lambda: build(name, **options))
  return tokenizer, compiled(lambda clip: tokenizer(clip))


@pytest.fixture
def clip(clip):
  return prepared(clip)


@pytest.fixture(scope="module", params=sorted(CASES))
def step(request):
  return Step(build(request.param, patch=PATCH, **CASES[request.param]))


class TestContract(GroupingContract):
  def test_slots_are_clean(self, step, clip):
    tokens, aux = step(clip)
    check_slots(tokens, tokens.mask.shape[1])
    np.testing.assert_array_equal(
      tokens.mask.sum(1), aux["kept"].sum((1, 2, 3))
    )
    assert (aux["overflow"] >= 0).all()


def one_patch(values, normalization="symmetric"):
  """A clip whose frames are each of one grey, of so many normalised units."""
  mean, deviation = np.array(NORMALIZATIONS[normalization])
  shade = np.round((np.asarray(values)[:, None] * deviation + mean) * 255)
  assert shade.min() >= 0 and shade.max() <= 255
  frames = np.broadcast_to(
    shade[None, :, None, None], (1, len(values), 2, 2, 3)
  )
  return normalized(frames, normalization)


def normalized(frames, name="symmetric"):
  """A clip as a model normalises it, in NumPy: eager JAX compiles a lot."""
  mean, deviation = np.array(NORMALIZATIONS[name], np.float32)
  frames = frames.astype(np.uint8).astype(np.float32)
  return Clip(frames=(frames / np.float32(255) - mean) / deviation)


@pytest.mark.parametrize(
  ("values", "times", "lengths"),
  [
    ([0, 0, 0, 0, 1, 1], [1 / 6, 5 / 6], [2, 1]),
    (0.03 * np.arange(8), [1 / 8], [4]),  # a drift that nothing shows
  ],
)
def test_runs_of_one_patch(values, times, lengths):
  shape = (len(values), 2, 2)
  _, call = made("run_length", patch=(2, 2, 2), clip_shape=shape)
  tokens, _ = call(one_patch(values))
  real = np.asarray(tokens.mask[0])
  np.testing.assert_allclose(tokens.positions[0, real, 0], times)
  assert tokens.size[0, real].tolist() == lengths


def test_lengths_belong_to_their_tokens():
  # Two patches in three tubelets: one is kept first and last, one twice first.
  kept = np.array([[1, 1], [0, 1], [1, 0]], bool)
  shade = np.array([[0, 0], [0, 200], [200, 200]], np.uint8)
  frames = np.repeat(np.repeat(shade, 2, axis=0), 2, axis=1)  # [6, 4]
  frames = np.broadcast_to(frames[None, :, None, :, None], (1, 6, 2, 4, 3))
  options = dict(patch=(2, 2, 2), clip_shape=(6, 2, 4))
  tokenizer, call = made("run_length", lengths=True, **options)
  clip = normalized(frames)
  tokens, aux = call(clip)
  np.testing.assert_array_equal(aux["kept"][0, :, 0], kept)
  assert tokens.size[0].tolist() == [2, 1, 2, 1, 0, 0]
  every, _ = compiled(tokenizer.patches)(clip)
  rows = np.asarray(tokenizer.lengths[...])[[1, 0, 1, 0]]
  np.testing.assert_allclose(
    tokens.features[0, :4], every.features[0][kept.ravel()] + rows, atol=1e-6
  )


def edges(rng, rule, batch=8):
  """Clips in which every patch changes by about as much as the limit.

  By as many levels as it allows in all channels, one less or one more; in half
  of the clips one channel then moves on, and that or another one back.
  """
  _, side, _ = rule.patch
  grid = SIZE // side
  levels = rule.limit // sum(rule.weights.channels)
  levels = levels + rng.integers(-1, 2, (batch, grid, grid))
  pixel = np.arange(side * side)
  most, rest = np.divmod(levels, side * side)
  change = most[..., None] + (pixel < rest[..., None])
  change = np.repeat(change[..., None], 3, axis=-1)  # [B, h, w, p p, 3]
  for b, y, x in np.ndindex(batch // 2, grid, grid):
    change[b, y, x, 0, rng.integers(3)] += 1
    change[b, y, x, 1, rng.integers(3)] -= 1
  change = change.reshape(batch, grid, grid, side, side, 3)
  change = change.transpose(0, 1, 3, 2, 4, 5).reshape(batch, SIZE, SIZE, 3)
  change = np.where(rng.random(change.shape) < 0.5, change, -change)
  frames = np.repeat(make_clip(rng, batch).frames[:, :1], FRAMES, axis=1)
  frames = frames.astype(np.int64) // 2 + 60
  frames[:, 1:] += change[:, None]
  mask = rng.random((batch, FRAMES)) < 0.8
  mask[::2] = True
  return Clip(frames=frames.astype(np.uint8), frame_mask=mask)


@pytest.mark.parametrize("normalization", sorted(NORMALIZATIONS))
def test_the_host_counts_what_the_device_keeps(rng, normalization):
  options = dict(patch=(2, 8, 8), normalization=normalization)
  tokenizer = drawn(lambda: build("run_length", **options))

  @compiled
  def kept(clip):
    return tokenizer(normalize(clip, normalization))[1]["kept"]

  host, rule = ChangedPatches(**options), tokenizer.rule
  seen = set()
  for _ in range(20):
    clip = edges(rng, rule)
    counts, found = host.count(clip), np.asarray(kept(clip))
    np.testing.assert_array_equal(counts, found.sum((1, 2, 3)))
    seen |= set(counts.tolist())
    # By the definition, where all is real.
    x = clip.frames[6].astype(np.int64)
    sums = np.abs(x[3] - x[0]) @ np.array(rule.weights.channels)
    sums = sums.reshape(4, 8, 4, 8).sum((1, 3))
    np.testing.assert_array_equal(found[6, 1], sums > rule.limit)
  assert len(seen) > 10


def test_the_host_knows_the_slots(rng):
  clip = make_clip(rng)
  assert (ChangedPatches(patch=PATCH, k=5).count(clip) == 5).all()
  assert (ChangedPatches(patch=PATCH).count(clip) == 8).all()
  with pytest.raises(ValueError, match="must divide the clip"):
    ChangedPatches(patch=(3, 8, 8)).count(clip)


@pytest.mark.parametrize("normalization", sorted(NORMALIZATIONS))
def test_the_rule_is_that_of_normalised_pixels(rng, normalization):
  frames = make_clip(rng, 8).frames // 16 + 100
  rule = ChangeRule(PATCH, 0.1, normalization)
  x = np.asarray(normalized(frames, normalization).frames, np.float64)
  change = np.abs(x[:, 3] - x[:, 0]).reshape(8, 2, 16, 2, 16, 3)
  change = change.mean((2, 4, 5))
  levels = np.abs(frames[:, 3].astype(int) - frames[:, 0])
  sums = levels @ np.array(rule.weights.channels)
  sums = sums.reshape(8, 2, 16, 2, 16).sum((2, 4)) / rule.weights.unit
  # Weights are rounded to a thousandth, or not at all.
  exact = normalization == "symmetric"
  np.testing.assert_allclose(sums, change, rtol=1e-6 if exact else 1e-3)
  assert rule.limit == math.floor(round(0.1 * rule.weights.unit, 6))


def test_slots_go_to_what_changed_most(rng):
  frames = normalized(make_clip(rng).frames).frames
  frames[:, 1:] = frames[:, :1]
  for i, place in enumerate(np.ndindex(2, 2)):
    y, x = (slice(16 * p, 16 * p + 16) for p in place)
    frames[:, 2:, y, x] *= 1 - 0.2 * i
  clip = Clip(frames=frames)
  for name, options, overflow in (
    ("run_length", dict(threshold=1e-3), 1),
    ("run_length", dict(threshold=None), 0),
    ("evs", {}, 0),
  ):
    _, call = made(name, patch=PATCH, k=6, **options)
    tokens, aux = call(clip)
    assert tokens.mask.all() and aux["overflow"].tolist() == [overflow] * 3
    for kept in aux["kept"]:
      assert np.flatnonzero(kept).tolist() == [0, 1, 2, 3, 6, 7]


def test_dtd_keeps_what_changed_by_the_threshold():
  levels = np.zeros((1, 6, 2, 4, 3), np.uint8)
  levels[:, 2:, :, :2] = 51  # a fifth, in the second tubelet
  levels[:, 4:, :, 2:] = 50
  clip = normalized(levels, "imagenet")
  options = dict(
    patch=(2, 2, 2), clip_shape=(6, 2, 4), normalization="imagenet"
  )
  _, aux = made("dtd", threshold=0.2, **options)[1](clip)
  assert np.flatnonzero(aux["kept"][0]).tolist() == [0, 1, 2]
  _, aux = made("dtd", threshold=0.5, relative=True, **options)[1](clip)
  assert np.flatnonzero(aux["kept"][0]).tolist() == [0, 1, 2, 5]


def scenes(rng):
  """Six frames of two patches: A, A, A with a new patch, B, B, then A again."""
  a, b, c = rng.integers(0, 256, (3, 4, 8, 3))
  changed = np.concatenate([a[:, :4], c[:, 4:]], axis=1)
  return np.stack([a, a, changed, b, b, a])[None].astype(np.uint8)


def test_gate_and_scenes(rng):
  clip = normalized(scenes(rng))
  options = dict(patch=(1, 4, 4), clip_shape=(6, 4, 8), scene_threshold=0.3)
  tokens, aux = made("grt", **options)[1](clip)
  kept = [0, 1, 5, 6, 7, 10, 11]
  assert np.flatnonzero(aux["kept"][0]).tolist() == kept
  assert tokens.mask.sum() == len(kept)

  # Fused: every later key frame joins the first, whatever it shows.
  tokenizer, call = made("grt", fuse=-1.0, **options)
  fused, aux = call(clip)
  assert np.flatnonzero(aux["kept"][0]).tolist() == [0, 1, 5]
  assert fused.size[0].tolist()[:4] == [3, 3, 1, 0]
  every, _ = compiled(tokenizer.patches)(clip)
  x = np.asarray(every.features[0])
  np.testing.assert_allclose(
    fused.features[0, 0], (x[0] + x[6] + x[10]) / 3, atol=1e-5
  )
  np.testing.assert_array_equal(
    fused.positions[0, :3], every.positions[0, [0, 1, 5]]
  )


def test_flat_patches_go_first(rng):
  frames = rng.integers(0, 256, (1, *CLIP_SHAPE, 3))
  frames[:, :2, :16, :16] = 40
  frames[:, 2:, 16:, 16:] = frames[:, 2:, 16:, 16:] // 4
  _, aux = made("vwt_intra", patch=PATCH, k=6)[1](normalized(frames))
  assert np.flatnonzero(aux["kept"][0]).tolist() == [1, 2, 3, 4, 5, 6]


def test_patches_of_one_word_are_averaged(rng, tmp_path):
  # Two words, in patches 1 and 6 and in patch 3; the others are of neither.
  pixels = rng.normal(size=(8, PIXELS))
  pixels[6] = 2 * pixels[1]
  words = pixels[[3, 1]] + 0.01 * rng.normal(size=(2, PIXELS))
  frames = pixels.reshape(2, 2, 2, 2, 16, 16, 3).transpose(0, 3, 1, 4, 2, 5, 6)
  clip = Clip(frames=frames.reshape(1, *CLIP_SHAPE, 3).astype(np.float32))
  np.save(tmp_path / "words.npy", words)
  path = str(tmp_path / "words.npy")
  tokenizer, call = made("vwt_inter", patch=PATCH, words=path)
  tokens, aux = call(clip)
  every, _ = compiled(tokenizer.patches)(clip)
  x, at = np.asarray(every.features[0]), np.asarray(every.positions[0])
  assert tokens.size[0].tolist() == [1, 2, 1, 1, 1, 1, 1, 0]
  np.testing.assert_allclose(
    tokens.features[0, 1], x[[1, 6]].mean(0), atol=1e-5
  )
  np.testing.assert_allclose(tokens.positions[0, 1], at[[1, 6]].mean(0))
  np.testing.assert_array_equal(tokens.features[0, 2:7], x[[2, 3, 4, 5, 7]])
  assert aux["overflow"].tolist() == [0]
  assert tokenizer.words == Words(words) != Words(words[:1])


def test_errors_say_what_was_expected():
  with pytest.raises(ValueError, match=r"\(frames, side, side\).*\(2, 8, 16\)"):
    build("run_length", patch=(2, 8, 16))
  with pytest.raises(ValueError, match=r"k must be in \[1, 8\], got 9"):
    build("dtd", patch=PATCH, k=9)
  with pytest.raises(ValueError, match="the 4 patches of a frame, got 3"):
    build("evs", patch=PATCH, k=3)
  with pytest.raises(ValueError, match="None keeps k patches"):
    build("run_length", patch=PATCH, threshold=None)
  with pytest.raises(ValueError, match="threshold must be 0 or more, got -1"):
    build("run_length", patch=PATCH, threshold=-1)
  with pytest.raises(ValueError, match="imagenet, unit, clip, got 'none'"):
    build("evs", patch=PATCH, k=4, normalization="none")
  with pytest.raises(ValueError, match=r"words must be \(V, 1536\)"):
    build("vwt_inter", patch=PATCH, words=WORDS[:, 1:])
  with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got 2"):
    build("dtd", patch=PATCH, threshold=2)
