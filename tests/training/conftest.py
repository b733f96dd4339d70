"""A tiny model with all that training must cope with, and its batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.ops.attention import attention
from trajvit.training.config import OptimizerConfig
from trajvit.training.functional import functional
from trajvit.training.optim import build_optimizer
from trajvit.training.state import init_state
from trajvit.training.step import make_train_step
from trajvit.types import Batch, Clip, Text, Tokens

TOTAL_STEPS = 50


class TinyModel(nnx.Module):
  """Two linear layers in a list, a running mean, a latent and a temperature.

  And block-sparse attention, if it is to attend.
  """

  def __init__(self, rngs, noise=0.0, attends=False):
    self.noise = noise
    self.attends = attends
    self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs) for _ in range(2)])
    self.words = nnx.Param(jax.random.normal(rngs.params(), (16, 8)))
    self.latents = nnx.Param(jnp.ones((1, 8)))
    self.temperature = nnx.Param(jnp.exp(-2.3))  # of weak type
    self.running = nnx.Dict(mean=nnx.BatchStat(jnp.zeros(8)))

  def __call__(self, batch, *, key=None):
    x = batch.clip.frames.astype(jnp.float32) / 255  # [B, 2, 2, 2, 3]
    x = x.reshape(x.shape[0], 3, 8)
    mean = x.mean((0, 1))
    x = x - self.running["mean"][...] + self.latents[...]
    if key is not None and self.noise:
      x += self.noise * jax.random.normal(key, x.shape)
    for layer in self.layers:
      x = jnp.tanh(layer(x))
    if self.attends:
      heads = x.reshape(*x.shape[:2], 2, 4)
      x += attention(*[heads] * 3, implementation="xla").reshape(x.shape)
    mask = batch.text.mask[:, :3]
    tokens = Tokens(x, mask, jnp.zeros((*mask.shape, 3)), mask.astype(float))
    text = self.words[...][batch.text.ids].mean(1)
    return {
      "video_embedding": x.mean(1),
      "text_embedding": text,
      "temperature": self.temperature[...],
      "tokens": tokens,
      "batch_stats": {"running": {"mean": 0.5 * mean}},
    }


def objective(outputs, batch):
  """Mean square distance of clip and caption; nan in the frames makes it so."""
  gap = outputs["video_embedding"] - outputs["text_embedding"]
  loss = jnp.square(gap).mean() / outputs["temperature"]
  poison = jnp.where((batch.label < 0).any(), jnp.nan, 0)
  return loss + poison, {"toy/gap": jnp.abs(gap).mean()}


def make_batch(seed=0, rows=8):
  rng = np.random.default_rng(seed)
  frames = rng.integers(0, 256, (rows, 2, 2, 2, 3), dtype=np.uint8)
  ids = rng.integers(0, 16, (rows, 4)).astype(np.int32)
  mask = np.arange(4) < rng.integers(1, 5, (rows, 1))
  return Batch(
    clip=Clip(frames),
    text=Text(ids, mask),
    clip_id=np.arange(rows, dtype=np.int32),
    label=np.zeros(rows, np.int32),
  )


def make_training(*, noise=0.0, attends=False, accumulate_steps=1, **options):
  """Returns (state, step function, tx, apply) of the tiny model."""
  config = OptimizerConfig(
    **{"learning_rate": 0.01, "warmup_steps": 5, **options},
    accumulate_steps=accumulate_steps,
  )
  init, apply = functional(
    lambda: TinyModel(nnx.Rngs(params=0), noise, attends)
  )
  tx, schedule = build_optimizer(config, TOTAL_STEPS)
  state = jax.jit(lambda: init_state(init(), tx, ema=config.ema_decay > 0))()
  step = make_train_step(
    apply,
    objective,
    tx,
    schedule,
    accumulate_steps=accumulate_steps,
    ema_decay=config.ema_decay,
    frozen=config.frozen,
  )
  return state, step, tx, apply


def assert_trees_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture
def tiny():
  """What the tests of this folder share."""
  return make_training, make_batch, assert_trees_equal
