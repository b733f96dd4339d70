"""Shared fixtures: a tiny batch of clips with tracks, and NNX's two modes."""

import numpy as np
import pytest
from flax import nnx
from tiny import make_batch, make_clip


@pytest.fixture
def rng():
  return np.random.default_rng(0)


@pytest.fixture(
  params=[
    pytest.param(True, id="graph"),
    pytest.param(False, id="tree", marks=pytest.mark.slow),
  ]
)
def nnx_mode(request):
  """Runs a test in both of Flax's modes, the second among the slow tests."""
  with nnx.set_graph_mode(request.param):
    yield


@pytest.fixture
def clip(rng):
  return make_clip(rng)


@pytest.fixture
def batch(rng):
  return make_batch(rng)
