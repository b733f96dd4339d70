"""Which leaves decay, and AdamW against a loop written from the paper."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from trajvit.models import build_model
from trajvit.training.config import OptimizerConfig
from trajvit.training.functional import functional, path_name
from trajvit.training.optim import build_optimizer, decays


@pytest.mark.parametrize(
  ("path", "shape", "expected"),
  [
    ("encoder/blocks/layers/mlp/up/kernel", (2, 4, 8), True),
    ("text/embedding", (50, 8), True),
    ("encoder/blocks/layers/mlp/up/bias", (2, 8), False),  # stacked layers
    ("encoder/blocks/layers/norm/scale", (2, 8), False),
    ("encoder/registers", (1, 8), False),
    ("tokenizer/position/latents", (1, 8), False),
    ("tokenizer/position/up/kernel", (4, 8), True),  # a module of that name
    ("tokenizer/positions/0", (4, 1, 8), False),  # a list of tables
    ("log_temperature", (), False),
    ("kernel", (4,), False),
  ],
)
def test_decay_rule(path, shape, expected):
  assert decays(path, shape) is expected


def test_decaying_leaves_of_the_video_text_model():
  spec = {
    "name": "video_text",
    "tokenizer": {"name": "trajectory_light"},
    "encoder": {"name": "vit", "width": 8, "depth": 2, "num_heads": 2},
    "text": {"name": "transformer", "width": 8, "depth": 2, "num_heads": 2},
    "embed_dim": 8,
  }
  context = {
    "clip_shape": (4, 32, 32),
    "max_tracks": 5,
    "vocab_size": 20,
    "text_length": 6,
  }
  init, _ = functional(lambda: build_model(spec, seed=0, **context))
  params = jax.eval_shape(init)["params"]
  leaves = jax.tree_util.tree_leaves_with_path(params)
  decaying = {
    path_name(path).rsplit("/", 1)[-1]
    for path, x in leaves
    if decays(path_name(path), x.shape)
  }
  assert decaying == {"kernel", "embedding"}


def test_adamw_equals_the_paper():
  options = {"b1": 0.8, "b2": 0.95, "weight_decay": 0.3, "clip_norm": 0.5}
  config = OptimizerConfig(learning_rate=0.1, warmup_steps=2, **options)
  tx, schedule = build_optimizer(config, total_steps=10)
  rng = np.random.default_rng(0)
  params = {
    "kernel": jnp.array(rng.normal(size=(3, 2)), jnp.float32),
    "bias": jnp.array(rng.normal(size=2), jnp.float32),
  }
  slow = {name: np.array(x, np.float64) for name, x in params.items()}
  m = {name: np.zeros_like(x) for name, x in slow.items()}
  v = {name: np.zeros_like(x) for name, x in slow.items()}
  state = tx.init(params)
  for t in range(1, 6):
    grads = {n: jnp.array(rng.normal(size=x.shape)) for n, x in slow.items()}
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)

    norm = np.sqrt(sum(np.square(g).sum() for g in grads.values()))
    rate = float(schedule(t - 1))
    for name, decay in (("kernel", 0.3), ("bias", 0.0)):
      g = np.array(grads[name]) * min(1, 0.5 / norm)
      m[name] = 0.8 * m[name] + 0.2 * g
      v[name] = 0.95 * v[name] + 0.05 * g**2
      mean, square = m[name] / (1 - 0.8**t), v[name] / (1 - 0.95**t)
      slow[name] -= rate * (
        mean / (np.sqrt(square) + 1e-8) + decay * slow[name]
      )
  for name, expected in slow.items():
    np.testing.assert_allclose(params[name], expected, rtol=1e-4, atol=1e-5)


def test_paths_have_no_trace_of_nnx(nnx_mode):
  class Pair(nnx.Module):
    def __init__(self):
      self.items = nnx.List([nnx.Param(jnp.zeros(2)), nnx.Param(jnp.ones(2))])

    def __call__(self, batch, *, key=None):
      return self.items[1][...]

  init, apply = functional(Pair)
  variables = init()
  leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
  assert [path_name(path) for path, _ in leaves] == ["items/0", "items/1"]
  np.testing.assert_array_equal(apply(variables, None), [1, 1])
