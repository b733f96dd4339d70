"""Clips to nested tokens and back, alone and beside captions."""

import dataclasses
import functools

import jax
import numpy as np
import optax
import pytest
from tiny import CLIP_SHAPE, TRACKS, WORDS, make_batch

from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.functional import functional
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
N, WIDTH = 4, 16
TOKENIZER = dict(name="registers", num_registers=N, depth=1)
RECONSTRUCTION = dict(
  dim=4,
  quantizer=dict(name="fsq", levels=(4, 4, 4, 4)),
  decoder=dict(name="pixel", patch=(2, 16, 16), inner_width=16, depth=1),
)
ALONE = dict(
  name="autoencoder",
  tokenizer=TOKENIZER,
  width=WIDTH,
  num_heads=2,
  reconstruction=RECONSTRUCTION,
  nested=dict(mode="uniform"),
)
JOINT = dict(
  name="video_text",
  tokenizer=TOKENIZER,
  encoder=dict(name="vit", width=WIDTH, depth=1, num_heads=2),
  text=dict(name="transformer", width=WIDTH, depth=1, num_heads=2),
  embed_dim=8,
  reconstruction=RECONSTRUCTION,
  nested=dict(mode="uniform"),
)


@functools.cache
def model(joint=False, **reconstruction):
  spec = JOINT if joint else ALONE
  changed = RECONSTRUCTION | {k: dict(v) for k, v in reconstruction.items()}
  spec = spec | dict(reconstruction=changed)
  init, apply = functional(lambda: build_model(spec, seed=0, **CONTEXT))
  return init(), jax.jit(apply)


def with_budget(batch, count):
  budget = np.full(len(batch.clip.frames), count, np.int32)
  return dataclasses.replace(batch, budget=budget)


@pytest.mark.parametrize(
  "joint", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_a_budget_is_what_the_decoder_reads(batch, joint):
  """Frames at k depend on the first k tokens, all of them at N and without."""
  variables, apply = model(joint)
  whole = apply(variables, batch)
  assert whole["frames"].shape == whole["target_frames"].shape
  assert whole["tokens"].mask.sum(1).tolist() == [N] * 3
  full = apply(variables, with_budget(batch, N))
  np.testing.assert_array_equal(whole["frames"], full["frames"])
  few = apply(variables, with_budget(batch, 2))
  assert few["tokens"].mask.sum(1).tolist() == [2] * 3
  assert np.abs(few["frames"] - whole["frames"]).max() > 1e-4
  np.testing.assert_array_equal(
    few["aux"]["quantizer"]["indices"], whole["aux"]["quantizer"]["indices"]
  )
  again = apply(variables, batch)
  np.testing.assert_array_equal(again["frames"], whole["frames"])


def test_training_draws_how_many_are_read(batch):
  variables, apply = model()
  kept = [
    apply(variables, batch, jax.random.key(seed))["tokens"].mask.sum(1)
    for seed in range(6)
  ]
  assert set(np.concatenate(kept).tolist()) == {1, 2, 3, 4}


@pytest.mark.slow
def test_indices_alone_make_the_frames(batch):
  variables, apply = model()
  outputs = apply(variables, batch)
  built = build_model(ALONE, seed=0, **CONTEXT)
  frames = built.reconstruction.decode(
    outputs["tokens"], outputs["aux"]["quantizer"]["indices"]
  )
  np.testing.assert_allclose(frames, outputs["frames"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("joint", "quantizer", "decoder"),
  [
    (True, "fsq", "pixel"),
    pytest.param(False, "vq", "flow", marks=pytest.mark.slow),
    pytest.param(False, "none", "coordinate", marks=pytest.mark.slow),
  ],
)
def test_it_learns(batch, joint, quantizer, decoder):
  """Every parameter but those of the registers' tail gets a gradient."""
  spec = dict(decoder=(("name", decoder), ("patch", (2, 16, 16))))
  if quantizer != "fsq":
    spec["quantizer"] = (("name", quantizer),)
  if quantizer == "vq":
    spec["quantizer"] += (("size", 8),)
  if decoder != "coordinate":
    spec["decoder"] += (("inner_width", 16), ("depth", 1))
  variables, apply = model(joint, **spec)
  names = {"reconstruction": {}}
  if joint:
    names["contrastive"] = {}
  if quantizer == "vq":
    names["quantization"] = {}
  schedule = optax.constant_schedule(3e-3)
  step = jax.jit(
    make_train_step(
      apply, build_objectives(names), optax.adam(schedule), schedule
    )
  )
  state = init_state(variables, optax.adam(schedule), ema=False)
  losses = []
  for _ in range(12):
    state, metrics = step(state, batch, jax.random.key(0))
    losses.append(float(metrics["train/loss"]))
  assert np.isfinite(losses).all() and np.mean(losses[-3:]) < losses[0]
  assert "quantizer/usage" in metrics or quantizer == "none"


def test_budgets_are_for_nested_tokens(batch):
  spec = JOINT | dict(tokenizer=dict(name="tubelet"))
  for key in ("nested", "reconstruction"):
    del spec[key]
  built = build_model(spec, seed=0, **CONTEXT)
  with pytest.raises(ValueError, match="of the tokenizer registers"):
    built(with_budget(make_batch(np.random.default_rng(0)), 2))
  with pytest.raises(ValueError, match="got TubeletTokenizer"):
    build_model(spec | dict(nested=dict(mode="uniform")), seed=0, **CONTEXT)
