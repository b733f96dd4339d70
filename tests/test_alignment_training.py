"""Alignment as a run does it: the teacher looks in training, and stays."""

import functools

import jax
import numpy as np
import pytest
from tiny import CLIP_SHAPE, TRACKS, WORDS, make_batch

from trajvit.models import build_model
from trajvit.models.feature_net import FeatureNet
from trajvit.objectives import build_objectives
from trajvit.training.config import OptimizerConfig
from trajvit.training.functional import functional, path_name
from trajvit.training.optim import build_optimizer
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
ALIGNMENT = dict(block=0, teacher=dict(widths=(4, 8), num_classes=3), hidden=16)
TOWERS = dict(
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)
STEPS = 20


def spec(joint=False, decoder="pixel", alignment=ALIGNMENT, **options):
  depth = {} if decoder == "coordinate" else dict(depth=1)
  parts = dict(
    tokenizer=dict(name="registers", num_registers=4, depth=1),
    reconstruction=dict(
      dim=4,
      quantizer=dict(name="fsq", levels=(4, 4, 4, 4)),
      decoder=dict(name=decoder, patch=(2, 16, 16), inner_width=16)
      | depth
      | options,
      alignment=alignment,
    ),
    nested=dict(mode="uniform"),
  )
  if joint:
    return dict(name="video_text", **TOWERS, **parts)
  return dict(name="autoencoder", width=16, num_heads=2, **parts)


def built(model):
  return functional(lambda: build_model(model, seed=0, **CONTEXT))


@functools.cache
def trained(joint, decoder):
  """The parameters of the first and last state by path, and all cosines."""
  init, apply = built(spec(joint, decoder))
  names = dict(alignment=dict(weight=0.5, schedule="linear"))
  names["reconstruction"] = dict(l2=1.0)
  if joint:
    names["contrastive"] = dict(weight=0.1)
  config = OptimizerConfig(
    learning_rate=3e-3, warmup_steps=0, frozen=("/alignment/teacher/",)
  )
  tx, schedule = build_optimizer(config, STEPS)
  step = jax.jit(
    make_train_step(
      apply, build_objectives(names), tx, schedule, frozen=config.frozen
    )
  )
  state = init_state(drawn_like(jax.eval_shape(init)), tx, ema=False)
  first, metrics = by_path(state.params), []
  batch = make_batch(np.random.default_rng(0), batch=2)
  for _ in range(STEPS):
    state, measured = step(state, batch, jax.random.key(0))
    metrics.append(jax.device_get(measured))
  return first, by_path(state.params), metrics


def drawn_like(variables):
  """Parameters that are drawn without a program that would have to compile."""
  rng = np.random.default_rng(0)
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.2, x.shape).astype(x.dtype), variables["params"]
  )
  stats = jax.tree.map(
    lambda x: np.zeros(x.shape, x.dtype), variables["batch_stats"]
  )
  return jax.device_put({"params": params, "batch_stats": stats})


def by_path(params):
  leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(params))
  return {path_name(path): x for path, x in leaves}


@pytest.mark.slow
@pytest.mark.parametrize(
  ("joint", "decoder"),
  [
    (False, "pixel"),
    pytest.param(True, "pixel", marks=pytest.mark.slow),
    pytest.param(False, "flow", marks=pytest.mark.slow),
  ],
)
def test_features_turn_to_a_teacher_that_stays(joint, decoder):
  first, last, metrics = trained(joint, decoder)
  cosines = [m["train/alignment/cosine"] for m in metrics]
  assert np.mean(cosines[-3:]) > np.mean(cosines[:3]) + 0.1
  losses = [m["train/loss"] for m in metrics]
  assert np.mean(losses[-3:]) < np.mean(losses[:3])
  # Nested: a clip that kept few tokens counts more than one that kept many.
  shares = [
    -m["train/alignment/loss"] / m["train/alignment/cosine"] for m in metrics
  ]
  assert min(shares) < 0.9 and np.ptp(shares) > 0.1
  moved = {name for name, x in first.items() if (x != last[name]).any()}
  place = "reconstruction/alignment/"
  parts = {name.removeprefix(place) for name in moved if place in name}
  layers = ("inner", "middle", "outer")
  assert parts == {f"{x}/{y}" for x in layers for y in ("kernel", "bias")}
  assert any(name.startswith("tokenizer/") for name in moved)


@pytest.mark.parametrize("joint", [False, True])
def test_an_evaluation_does_without_a_teacher(monkeypatch, joint):
  init, apply = built(spec(joint))
  variables = jax.eval_shape(init)
  batch = make_batch(np.random.default_rng(0), batch=2)
  key = jax.random.key(0)
  looks, features = [], FeatureNet.features

  def look(self, *args, **options):
    looks.append(self)
    return features(self, *args, **options)

  monkeypatch.setattr(FeatureNet, "features", look)
  told = jax.eval_shape(apply, variables, batch)["aux"]
  assert "alignment" not in told and "hidden" not in told["decoder"]
  assert not looks
  told = jax.eval_shape(apply, variables, batch, key)["aux"]
  assert len(looks) == 1
  cells = 2, CLIP_SHAPE[0] * (CLIP_SHAPE[1] // 4) ** 2
  assert told["alignment"]["projected"].shape == (*cells, 8)
  assert told["alignment"]["mask"].shape == cells
  assert told["alignment"]["kept"].shape == (2, 4)


@pytest.mark.slow
def test_all_else_starts_as_without_it():
  first, alone = (
    by_path(built(spec(alignment=alignment))[0]()["params"])
    for alignment in (ALIGNMENT, None)
  )
  extra = first.keys() - alone.keys()
  assert alone.keys() < first.keys()
  assert all(x.startswith("reconstruction/alignment/") for x in extra)
  for name, x in alone.items():
    np.testing.assert_array_equal(first[name], x, err_msg=name)


@pytest.mark.parametrize(
  ("model", "message"),
  [
    (spec(decoder="coordinate"), "all patches, .* got CoordinateDecoder"),
    (spec(align_block=0, alignment=ALIGNMENT | dict(block=1)), "of block 1 "),
    (spec(alignment=ALIGNMENT | dict(block=1)), r"in \[0, 1\), got 1"),
    (spec(alignment=ALIGNMENT | dict(width=3)), "alignment reads no 'width'"),
    (
      spec(alignment=ALIGNMENT | dict(teacher=dict(depth=3))),
      "alignment.teacher reads no 'depth'",
    ),
  ],
)
def test_refusals(model, message):
  with pytest.raises(ValueError, match=message):
    jax.eval_shape(built(model)[0])
