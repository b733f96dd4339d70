"""Shared fixtures: a tiny batch of clips with tracks, and NNX's two modes."""

import numpy as np
import pytest
from flax import nnx
from tiny import make_batch, make_clip


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.fixture(params=[True, False], ids=["graph", "tree"])
def nnx_mode(request):
  """Runs a test in both of Flax's modes."""
  with nnx.set_graph_mode(request.param):
    yield


@pytest.fixture
def clip(rng):
  return make_clip(rng)


@pytest.fixture
def batch(rng):
  return make_batch(rng)
