"""Latents of a frozen autoencoder in place of pixels."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, TRACKS, drawn

from trajvit.models import build_model
from trajvit.models.latents import KLLatents
from trajvit.training.functional import functional
from trajvit.types import Clip

CHANNELS = 4
LATENTS = dict(channels=CHANNELS, widths=(32, 32), depth=1, scaling_factor=0.5)
MODEL = dict(
  name="autoencoder",
  tokenizer=dict(
    name="registers",
    num_registers=3,
    depth=1,
    patch=(2, 4, 4),
    position="plane",
    normed=True,
  ),
  width=16,
  num_heads=2,
  latents=dict(name="kl", **LATENTS),
  reconstruction=dict(
    dim=3,
    norm=False,
    quantizer=dict(name="fsq", levels=(4, 4, 3)),
    decoder=dict(
      name="flow",
      patch=(2, 4, 4),
      inner_width=16,
      num_heads=2,
      depth=1,
      steps=1,
      tail="mask",
      plane=True,
    ),
  ),
  nested=dict(mode="uniform"),
)
CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=1, text_length=1
)


def built(**options):
  """Latents with drawn weights."""
  options = LATENTS | options
  return drawn(lambda: KLLatents(rngs=nnx.Rngs(params=0), **options))


@functools.cache
def both_ways():
  """There and back, compiled."""
  module = built()

  @jax.jit
  def run(clip):
    there = module.encode(clip)
    back = module.decode(there.frames, frame_mask=clip.frame_mask)
    return there.frames, back

  return run


@pytest.fixture
def clip(rng):
  """Two clips of 3 frames, the second without its last one."""
  frames = rng.uniform(-1, 1, (2, 3, 8, 12, 3)).astype(np.float32)
  mask = np.array([[True, True, True], [True, True, False]])
  return Clip(frames=frames, frame_mask=mask)


def test_frames_are_each_for_themselves(clip):
  there, back = both_ways()(clip)
  assert there.shape == (2, 3, 4, 6, CHANNELS) and back.shape[2:] == (8, 12, 3)
  frames = clip.frames.copy()
  frames[0, 1] += 1
  frames[1, 2] = np.nan
  moved, again = both_ways()(dataclasses.replace(clip, frames=frames))
  for before, after in ((there, moved), (back, again)):
    np.testing.assert_allclose(after[0, ::2], before[0, ::2], atol=1e-5)
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)
    assert np.abs(after[0, 1] - before[0, 1]).max() > 1e-3
    assert (after[1, 2] == 0).all()


def test_they_are_drawn_where_this_is_asked_for(clip):
  module = built(sample=True)
  draw = jax.jit(lambda key: module.encode(clip, key=key).frames)
  mean, _ = both_ways()(clip)
  one, other = (draw(jax.random.key(seed)) for seed in range(2))
  assert (one[1, 2] == 0).all()
  for x in (mean, other):
    assert np.median(np.abs(one - x)[0]) > 1e-2


@functools.cache
def autoencoder():
  init, apply = functional(lambda: build_model(MODEL, seed=0, **CONTEXT))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), jax.eval_shape(init)
  )
  return variables, jax.jit(apply)


@pytest.mark.slow
def test_frames_are_made_by_way_of_latents(batch):
  variables, apply = autoencoder()
  made = apply(variables, batch)
  assert made["frames"].shape == made["target_frames"].shape
  assert made["target_frames"].shape == (3, *CLIP_SHAPE, 3)
  budget = np.array([1, 3, 3], np.int32)
  few = apply(variables, dataclasses.replace(batch, budget=budget))
  difference = np.abs(few["frames"] - made["frames"]).max((1, 2, 3, 4))
  assert difference[0] > 1e-4 and (difference[1:] < 1e-4).all()


@pytest.mark.slow
def test_training_compares_latents_and_leaves_their_weights_alone(batch):
  variables, apply = autoencoder()

  @jax.jit
  @jax.grad
  def gradient(params):
    made = apply(variables | dict(params=params), batch, jax.random.key(0))
    assert made["frames"] is None
    aux = made["aux"]["decoder"]
    assert aux["velocity"].shape[-1] == CHANNELS
    assert made["target_frames"].shape[-1] == 3
    return ((aux["predicted"] - aux["target"]) ** 2).mean()

  found = gradient(variables["params"])
  norms = jax.tree.map(lambda x: np.abs(x).max(), found)
  assert max(jax.tree.leaves(norms.pop("latents"))) == 0
  assert max(jax.tree.leaves(norms["tokenizer"])) > 0


def test_a_teacher_sees_pixels(batch):
  teacher = dict(widths=(8, 8), num_classes=2)
  alignment = dict(block=0, teacher=teacher, hidden=8)
  spec = MODEL | dict(
    reconstruction=MODEL["reconstruction"] | dict(alignment=alignment)
  )
  init, apply = functional(lambda: build_model(spec, seed=0, **CONTEXT))
  made = jax.eval_shape(apply, jax.eval_shape(init), batch, jax.random.key(0))
  assert "alignment" in made["aux"]


def changed(**parts):
  return MODEL | dict(reconstruction=MODEL["reconstruction"] | parts)


WRONG = [
  (MODEL | dict(normalization="imagenet"), "'symmetric', .* got 'imagenet'"),
  (changed(adversarial={}, perceptual={}), "adversarial and perceptual need"),
  (
    changed(decoder=dict(name="pixel")),
    "decoder 'pixel' reads no 'channels'",
  ),
  (
    MODEL | dict(tokenizer=dict(name="trajectory")),
    "tokenizer 'trajectory' reads no 'channels'",
  ),
  (
    MODEL | dict(latents=dict(name="kl", **LATENTS | dict(scaling_factor=0))),
    "scaling_factor must be above 0, got 0",
  ),
]


@pytest.mark.parametrize(("spec", "message"), WRONG)
def test_what_does_not_go_with_them_is_refused(spec, message):
  with pytest.raises(ValueError, match=message):
    nnx.eval_shape(lambda: build_model(spec, seed=0, **CONTEXT))


def test_frames_must_be_whole_cells():
  context = CONTEXT | dict(clip_shape=(4, 32, 33))
  with pytest.raises(ValueError, match="multiples of 2 .* got .32, 33."):
    nnx.eval_shape(lambda: build_model(MODEL, seed=0, **context))
