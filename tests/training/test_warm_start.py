"""Starting from parts of another run: those arrays, and no others."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from trajvit.training import warm_start as module
from trajvit.training.config import WarmStartConfig
from trajvit.training.state import init_state
from trajvit.training.warm_start import transplant, warm_start

OURS = {
  "params": {
    "features": {"encoder": {"kernel": (2, 3), "layers": {0: (4,)}}},
    "features_too": {"kernel": (2, 3)},
    "latents": (1, 2),
  },
  "batch_stats": {"features": {"encoder": {"mean": (3,)}}},
}
THEIRS = {
  "params": {
    "encoder": {"kernel": (2, 3), "layers": {0: (4,)}},
    "tokens": (1, 2),
  },
  "batch_stats": {"encoder": {"mean": (3,)}},
}
PARTS = {"features/encoder": "encoder", "latents": "tokens"}


def filled(shapes, value):
  return jax.tree.map(
    lambda shape: jnp.full(shape, value),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )


@pytest.fixture
def models():
  return filled(OURS, 1.0), filled(THEIRS, 2.0)


def test_named_parts_and_no_others_are_taken(models):
  got = transplant(*models, PARTS)
  expected = filled(OURS, 2.0)
  expected["params"]["features_too"] = {"kernel": jnp.ones((2, 3))}
  assert jax.tree.structure(got) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, got, expected)


def test_an_empty_path_is_the_whole_model(models):
  got = transplant(models[0], filled(OURS, 2.0), {"": ""})
  jax.tree.map(np.testing.assert_array_equal, got, filled(OURS, 2.0))


@pytest.mark.parametrize(
  ("parts", "message"),
  [
    ({}, "must name what to take, got none"),
    ({"features/encode": "encode"}, "'features/encode' of this model has 0"),
    ({"features": "encoder"}, "'features' of this model has 3 .* 6 differ"),
    ({"features_too": "encoder"}, "1 arrays and 'encoder' of the other one 3"),
    ({"latents": "encoder/kernel"}, "1 differ: params/"),
  ],
)
def test_parts_that_differ_are_refused(models, parts, message):
  with pytest.raises(ValueError, match=message):
    transplant(*models, parts)


def test_a_state_starts_from_them(models, monkeypatch):
  ours, theirs = models
  asked = []

  def restore(workdir, step):
    asked.append((workdir, step))
    return types.SimpleNamespace(variables=theirs)

  monkeypatch.setattr(module, "restore_run", restore)
  config = WarmStartConfig("runs/vit", PARTS, step="best")
  for ema in (True, False):
    state = warm_start(init_state(ours, optax.adam(1.0), ema=ema), config)
    assert asked.pop() == ("runs/vit", "best")
    kernel = state.params["features"]["encoder"]["kernel"]
    assert (kernel == 2).all() and state.step == 0
    assert (state.batch_stats["features"]["encoder"]["mean"] == 2).all()
    assert (state.ema is not None) == ema
  state = warm_start(init_state(ours, optax.adam(1.0), ema=True), config)
  jax.tree.map(np.testing.assert_array_equal, state.ema, state.params)
  pointers = [
    x.unsafe_buffer_pointer()
    for x in jax.tree.leaves((state.params, state.ema))
  ]
  assert len(set(pointers)) == len(pointers)  # or the step could not be donated
