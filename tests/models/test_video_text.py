"""The model as a whole, for every tokenizer."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, TRACKS, WORDS, make_batch

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.types import Text

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
SPEC = dict(
  name="video_text",
  tokenizer=dict(name="trajectory_light"),
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)
TOKENIZERS = [
  dict(name="trajectory_light"),
  dict(name="trajectory"),
  dict(name="tubelet", patch=(2, 16, 16)),
]


def build(seed=0, **spec):
  return build_model(SPEC | spec, seed=seed, **CONTEXT)


@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda spec: spec["name"])
def test_the_tokenizer_is_one_line(batch, nnx_mode, tokenizer):
  model = build(tokenizer=tokenizer)
  outputs = jax.jit(lambda batch: model(batch))(batch)
  for name in ("video_embedding", "text_embedding"):
    assert outputs[name].shape == (3, 8)
    norm = jnp.linalg.norm(outputs[name], axis=-1)
    np.testing.assert_allclose(norm, 1, rtol=1e-5)
  entered, encoded = outputs["tokens"], outputs["encoded"]
  assert encoded.features.shape == (3, 1 + entered.mask.shape[1], 16)
  np.testing.assert_array_equal(encoded.mask[:, 1:], entered.mask)
  np.testing.assert_allclose(
    jax.jit(model.encode_video)(batch.clip),
    outputs["video_embedding"],
    atol=1e-5,
  )


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda spec: spec["name"])
def test_a_masked_frame_changes_no_gradient(batch, tokenizer):
  """The line from frames to loss: what a masked frame holds is never read."""
  model = build(tokenizer=tokenizer)
  graphdef, state = nnx.split(model)
  objectives = build_objectives({"contrastive": {}})
  mask = batch.clip.frame_mask.copy()
  mask[1, 2:] = False

  @jax.jit
  def loss(state, frames):
    clip = dataclasses.replace(batch.clip, frames=frames, frame_mask=mask)
    outputs = nnx.merge(graphdef, state)(dataclasses.replace(batch, clip=clip))
    return objectives(outputs, batch)[0]

  frames = batch.clip.frames.astype(np.float32)
  dirty = np.where(mask[..., None, None, None], frames, np.nan)
  expected = jax.value_and_grad(loss)(state, frames)
  got = jax.value_and_grad(loss)(state, dirty)
  for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True):
    assert np.isfinite(b).all()
    np.testing.assert_array_equal(a, b)


def test_several_captions_a_clip_keep_their_place(batch):
  model = build()
  run = jax.jit(model)
  one = run(batch)["text_embedding"]
  several = Text(
    *(np.stack([x, x[::-1]], 1) for x in (batch.text.ids, batch.text.mask))
  )
  both = run(dataclasses.replace(batch, text=several))["text_embedding"]
  assert both.shape == (3, 2, 8)
  np.testing.assert_allclose(both[:, 0], one, atol=1e-6)
  np.testing.assert_allclose(both[:, 1], one[::-1], atol=1e-6)


def test_without_text_there_is_no_text_embedding(batch):
  outputs = jax.eval_shape(build(), dataclasses.replace(batch, text=None))
  assert "text_embedding" not in outputs


@pytest.mark.parametrize("pool", ["cls", "mean"])
def test_empty_tracks_do_not_matter(pool):
  """More slots than tracks: the same embedding."""
  batch = make_batch(np.random.default_rng(0))
  embeddings = []
  for max_tracks in (TRACKS, TRACKS + 4):
    context = CONTEXT | dict(max_tracks=max_tracks)
    model = build_model(SPEC | dict(pool=pool), seed=0, **context)
    embeddings.append(jax.jit(model.encode_video)(batch.clip))
  np.testing.assert_allclose(*embeddings, atol=1e-5)


def test_the_temperature_stays_in_range_and_can_return():
  model = build(temperature=2.0, temperature_range=(0.01, 0.5))
  graphdef, state = nnx.split(model)

  def temperature(state):
    return jnp.exp(nnx.merge(graphdef, state)._log_temperature())

  value, grads = jax.value_and_grad(temperature)(state)
  np.testing.assert_allclose(value, 0.5, rtol=1e-6)
  assert nnx.to_pure_dict(grads)["log_temperature"] > 0


def test_bfloat16_keeps_parameters_and_embeddings_in_float32(batch):
  model = build(dtype="bfloat16")
  state = nnx.split(model)[1]
  assert {x.dtype for x in jax.tree.leaves(state)} == {jnp.dtype("float32")}
  low, full = jax.jit(model)(batch), jax.jit(build())(batch)
  assert low["video_embedding"].dtype == jnp.float32
  assert low["tokens"].features.dtype == jnp.bfloat16
  cosine = (low["video_embedding"] * full["video_embedding"]).sum(-1)
  assert (cosine > 0.99).all()


def test_the_seed_decides_the_parameters():
  first, again, other = (
    np.asarray(build(seed).project_video.kernel[...]) for seed in (0, 0, 1)
  )
  np.testing.assert_array_equal(first, again)
  assert not np.allclose(first, other)


ERRORS = [
  (
    dict(tokenizer=dict(name="tubelets")),
    "known: .*trajectory, trajectory_light",
  ),
  (dict(tokenizer=dict(name="tubelet", pach=2)), "reads no 'pach'; it takes"),
  (dict(tokenizer=dict(patch=2)), "a tokenizer needs a name"),
  (dict(embed_dims=8), "model 'video_text' reads no 'embed_dims'"),
  (dict(pool="max"), "'cls' or 'mean', got 'max'"),
  (dict(normalization="l2"), "symmetric, .*clip.*, got 'l2'"),
  (dict(dtype="float16"), "float32, bfloat16, got 'float16'"),
  (dict(encoder=dict(name="vit", registers=0)), "registers >= 1, got 0"),
]


@pytest.mark.parametrize(("spec", "message"), ERRORS)
def test_what_a_config_gets_wrong_is_named(spec, message):
  with pytest.raises(ValueError, match=message):
    nnx.eval_shape(lambda: build(**spec))
