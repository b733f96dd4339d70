"""Run directories on moving sprites whose weights are drawn at random."""

import json

import jax
import numpy as np
import optax
from tiny import CLIP_SHAPE, FRAMES, GRID, SIZE, TRACKS, WORDS

from trajvit.models import build_model
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig
from trajvit.training.functional import functional
from trajvit.training.state import init_state

CONTEXT = dict(
  clip_shape=CLIP_SHAPE, max_tracks=TRACKS, vocab_size=20, text_length=WORDS
)
COUNT, STEP = 3, 7


def sprites(**options):
  return dict(name="moving_sprites", split="validation", count=COUNT, **options)


def write_run(path, model, evals, seed=0):
  """Writes the config and a checkpoint of step STEP; returns the path."""
  config = dict(
    seed=0,
    total_steps=1,
    log_every=1,
    compilation_cache="none",
    data=dict(
      batch_size=2,
      clip=dict(frames=FRAMES, size=SIZE, track_grid=GRID, max_tracks=TRACKS),
      text=dict(name="words", vocabulary=["red", "ball"], length=WORDS),
    ),
    model=model,
    objectives={},
    optimizer=dict(learning_rate=1e-3, warmup_steps=1),
    checkpoint=dict(every=1),
    evals=evals,
  )
  path.mkdir()
  (path / "config.json").write_text(json.dumps(config))
  init, _ = functional(lambda: build_model(model, seed=0, **CONTEXT))
  rng = np.random.default_rng(seed)
  variables = jax.tree.map(
    lambda x: rng.normal(0.1, 0.3, x.shape).astype(x.dtype),
    jax.eval_shape(init),
  )
  checkpoints = Checkpoints(path / "checkpoints", CheckpointConfig(every=1))
  state = init_state(variables, optax.sgd(1.0), ema=False)
  checkpoints.save(STEP, state, data={}, meta=dict(model_context=CONTEXT))
  checkpoints.close()
  return str(path)
