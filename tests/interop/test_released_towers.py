"""Released towers, converted: the same numbers as the code they come from."""

import jax
import numpy as np
import pytest
from transformers_oracles import ORACLES, make, read

from trajvit.interop import load_torch, to_torch
from trajvit.interop.kinds import kind_of
from trajvit.interop.load import model_of
from trajvit.types import Text


def close(ours, theirs):
  """The largest difference is below 1e-4 of the largest number."""
  ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
  assert ours.shape == theirs.shape
  assert np.abs(ours - theirs).max() < 1e-4 * np.abs(theirs).max()


def check(oracle):
  run, report = load_torch(oracle.kind, oracle.state, oracle.config)
  assert not report.extra and not report.missing
  model = model_of(run)
  if oracle.frames is not None:
    features, pooled = jax.jit(model.vision)(oracle.frames)
    close(features.reshape(oracle.features.shape), oracle.features)
    close(pooled[:, 0], oracle.pooled)
  if oracle.ids is not None:
    text = jax.jit(model.text)(Text(oracle.ids, oracle.mask))
    close(text, oracle.text)
  if oracle.scalars is not None:
    temperature = np.exp(model.log_temperature[...])
    close([temperature, model.logit_bias[...]], oracle.scalars)
  back = to_torch(run.plan, run.variables, run.carried)
  assert back.keys() == oracle.state.keys()
  for name, x in oracle.state.items():
    assert back[name].dtype == x.dtype and back[name].shape == x.shape
    assert back[name].tobytes() == x.tobytes(), name


@pytest.mark.parametrize("name", ORACLES)
def test_features_are_as_they_were(name):
  check(read(name))


@pytest.mark.parametrize("name", ORACLES)
def test_features_are_those_of_transformers(name):
  pytest.importorskip("transformers")
  check(make(name, seed=1))


@pytest.mark.parametrize("name", ORACLES)
def test_the_kind_is_seen_from_the_names(name):
  oracle = read(name)
  assert kind_of(oracle.state) == oracle.kind
