import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders import VISION_ENCODERS

SMALL = dict(name="vit", width=12, depth=1, num_heads=2, mlp_dim=16, size=8)
VIDEO = dict(frames=4, patch=(2, 4, 4), class_token=False)
CONVNEXT = dict(name="convnext", depths=(1, 1), widths=(4, 6), layer_scale=0.5)
SLOW = pytest.mark.slow
CASES = {
  "vit": dict(**SMALL, patch=(1, 4, 4)),
  "clip": dict(
    **SMALL,
    patch=(1, 4, 4),
    patch_bias=False,
    first_norm=True,
    activation="quick_gelu",
    outputs=5,
  ),
  "siglip": dict(**SMALL, patch=(1, 4, 4), class_token=False, pool="attention"),
  "videomae": dict(
    **SMALL, **VIDEO, position="sinusoid", pool="mean", last_norm="pooled"
  ),
  "vjepa2": dict(**SMALL, **VIDEO, position="rotary", pool="mean"),
  "convnext": CONVNEXT,
  "videoprism": dict(
    **SMALL | dict(name="videoprism"),
    patch=4,
    grid=(4, 2, 2),
    temporal_depth=1,
    auxiliary_depth=1,
    pool="attention",
  ),
}

# The others are held to their references in tests/interop by default.
NAMES = [
  name if name in ("clip", "vjepa2") else pytest.param(name, marks=SLOW)
  for name in CASES
]


def build(**spec):
  return VISION_ENCODERS.build(spec, rngs=nnx.Rngs(params=0))


def frames_of(rng, count=4):
  return rng.normal(size=(2, count, 8, 8, 3)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_windows_are_seen_alone(rng, nnx_mode, name):
  tower = build(**CASES[name])
  see = jax.jit(tower)
  frames = frames_of(rng, 2 * max(tower.frames, 2))
  features, pooled = see(frames)
  windows = frames.shape[1] // tower.frames
  assert pooled.shape == (2, windows, tower.outputs)
  assert features.shape[0] == 2 and features.shape[-1] == tower.width
  assert features.shape[1] % windows == 0
  other = frames.copy()
  other[:, : tower.frames] += 1
  changed, also = see(other)
  steps = features.shape[1] // windows
  np.testing.assert_allclose(changed[:, steps:], features[:, steps:], atol=1e-5)
  np.testing.assert_allclose(also[:, 1:], pooled[:, 1:], atol=1e-5)
  assert np.abs(also[:, 0] - pooled[:, 0]).max() > 1e-4


@pytest.mark.parametrize(
  "name", [pytest.param("siglip", marks=SLOW), "videomae", "vjepa2"]
)
def test_patches_know_their_places(rng, name):
  tower = build(**CASES[name])
  frames = np.tile(rng.normal(size=(1, 1, 4, 4, 3)), (1, tower.frames, 2, 2, 1))
  if name == "vjepa2":  # alike patches read alike, wherever they are
    frames[:, :, :4, :4] *= -1
  features, _ = jax.jit(tower)(frames.astype(np.float32))
  flat = np.asarray(features).reshape(-1, 12)[1:]
  for i, one in enumerate(flat):
    for other in flat[:i]:
      assert np.abs(one - other).max() > 1e-5


def test_the_mean_of_tokens_may_be_normalised_last(rng):
  tower = build(**CASES["videomae"])
  features, pooled = jax.jit(tower)(frames_of(rng))
  expected = tower.norm(features.reshape(2, -1, 12).mean(1))
  np.testing.assert_allclose(pooled[:, 0], expected, atol=1e-5)


WRONG = [
  (dict(pool="max"), "class, mean, attention, got 'max'"),
  (dict(position="none"), "table, sinusoid, rotary, got 'none'"),
  (dict(last_norm="first"), "tokens, pooled, none, got 'first'"),
  (dict(class_token=False), "needs a class_token"),
  (dict(position="rotary"), "needs position 'table', got 'rotary'"),
  (dict(patch=(1, 3, 3)), r"must divide \(T, H, W\) = \(1, 8, 8\)"),
]


@pytest.mark.parametrize(("options", "message"), WRONG)
def test_what_is_wrong_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    build(**SMALL | dict(patch=(1, 4, 4)) | options)


WRONG_PRISM = [
  (dict(pool="class"), "pool must be one of mean, attention, got 'class'"),
  (dict(pool="mean"), "auxiliary_depth 1 needs pool 'attention'"),
  (dict(patch=3), "patch 3 must divide the size 8"),
  (dict(pool_dim=9), "num_heads must divide the pool's width 9, got 2"),
  (dict(logit_cap=-1.0), "cap must be above 0"),
]


@pytest.mark.parametrize(("options", "message"), WRONG_PRISM)
def test_what_is_wrong_with_videoprism_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    build(**CASES["videoprism"] | options)


def test_frames_must_fit(rng):
  with pytest.raises(ValueError, match="must be 8 x 8, got 4 x 8"):
    build(**CASES["vit"])(frames_of(rng)[:, :, :4])
  with pytest.raises(ValueError, match="sees 4 frames at a time, got .* 3"):
    build(**CASES["vjepa2"])(frames_of(rng, 3))
  with pytest.raises(ValueError, match="got 'huge'"):
    build(name="convnext", variant="huge")
