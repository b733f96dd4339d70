"""Trained runs, as small as they come, for the tests of export."""

import functools
import json
import tempfile
from pathlib import Path

import jax
import numpy as np
import optax
from tiny import CLIP_SHAPE, FRAMES, GRID, SIZE, TRACKS, WORDS

from trajvit import cli
from trajvit.models import build_model
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig, read_config
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun
from trajvit.training.state import init_state

STEP = 7
_KEPT = tempfile.TemporaryDirectory()  # until the tests end

VOCABULARY = ["red", "green", "ball", "moves", "left"]
CONTEXT = dict(
  clip_shape=CLIP_SHAPE,
  max_tracks=TRACKS,
  vocab_size=3 + len(VOCABULARY),
  text_length=WORDS,
)
MODEL = dict(
  name="video_text",
  tokenizer=dict(name="trajectory_light"),
  encoder=dict(name="vit", width=16, depth=1, num_heads=2),
  text=dict(name="transformer", width=16, depth=1, num_heads=2),
  embed_dim=8,
)
CONFIG = dict(
  seed=0,
  total_steps=1,
  log_every=1,
  data=dict(
    batch_size=2,
    clip=dict(frames=FRAMES, size=SIZE, track_grid=GRID, max_tracks=TRACKS),
    text=dict(name="words", vocabulary=VOCABULARY, length=WORDS),
  ),
  objectives=dict(contrastive=dict(weight=1.0)),
  optimizer=dict(learning_rate=1e-3, warmup_steps=1),
  checkpoint=dict(every=1),
)


def config(**model) -> dict:
  return CONFIG | dict(model=MODEL | model)


def tiny_run(**model) -> RestoredRun:
  """A run of MODEL with these changes, see `run_of`."""
  return run_of(MODEL | model)


def run_of(model: dict) -> RestoredRun:
  """A run whose weights are drawn anew: no initial value is a special one."""
  read = read_config(CONFIG | dict(model=model))

  def build():
    return build_model(read.model, seed=0, **CONTEXT)

  init, apply = functional(build)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.normal(0.1, 0.2, x.shape).astype(x.dtype),
    jax.eval_shape(init),
  )
  meta = dict(model_context=CONTEXT, commit=None)
  return RestoredRun(read, build, apply, variables, STEP, False, meta)


@functools.cache
def exported_run() -> Path:
  """The run directory of `tiny_run()`, which the command exported to export/.

  Made once for all tests, which must not write to it.
  """
  path, run = Path(_KEPT.name), tiny_run()
  (path / "config.json").write_text(json.dumps(config()))
  state = init_state(run.variables, optax.sgd(1.0), ema=False)
  checkpoints = Checkpoints(path / "checkpoints", CheckpointConfig(every=1))
  checkpoints.save(STEP, state, data={}, meta=dict(model_context=CONTEXT))
  checkpoints.close()
  command = ["export", str(path), str(path / "export"), "--step", str(STEP)]
  assert cli.main(command) == 0
  return path
