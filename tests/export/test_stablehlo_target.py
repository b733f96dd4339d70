"""One target alone: its files, its loader, and the code of its card."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from trajvit.export.targets import stablehlo
from trajvit.export.targets.program import Program

WEIGHTS = {
  "params/kernel": np.int8([[1, -2], [3, 127]]),
  "params/scale": np.float32([0.5, 2]),
  "params/bias": np.asarray([1, 2], jnp.bfloat16),
  "batch_stats/count": np.int32([3]),
}


def call(weights, x, y):
  kernel = weights["params/kernel"] * weights["params/scale"]
  bias = weights["params/bias"].astype(jnp.float32)
  return {"sum": x @ kernel + bias * y * weights["batch_stats/count"]}


@pytest.fixture(name="signatures")
def _signatures(tmp_path):
  inputs = {"x": (np.float32, (2,)), "y": (np.float32, (2,))}
  programs = {"encode": Program(call, inputs)}
  file = safetensors.numpy.save(WEIGHTS)
  (tmp_path / "model.safetensors").write_bytes(file)
  return stablehlo.write(tmp_path, programs, WEIGHTS, platforms=["cpu"])


def test_what_was_written_is_loaded(signatures, tmp_path, rng):
  config = {"programs": {"stablehlo": signatures}, "versions": {"jax": "0"}}
  config = json.loads(json.dumps(config))
  x, y = rng.standard_normal((2, 3, 2), np.float32)
  loaded = stablehlo.load(tmp_path, config, WEIGHTS)
  found = loaded["encode"](WEIGHTS, x, y)["sum"]
  np.testing.assert_allclose(found, call(WEIGHTS, x, y)["sum"], rtol=1e-5)
  with pytest.raises(
    ValueError, match="encode.stablehlo expects 'params/bias'"
  ):
    stablehlo.load(tmp_path, config, WEIGHTS | {"params/bias": np.zeros(2)})


def test_its_code_reads_weights_of_every_dtype(signatures, tmp_path, rng):
  x, y = rng.standard_normal((2, 3, 2), np.float32)
  names = dict(directory=tmp_path, x=x, y=y)
  exec(stablehlo.usage(signatures), names)
  expected = call(WEIGHTS, x, y)["sum"]
  np.testing.assert_allclose(names["outputs"]["sum"], expected, rtol=1e-5)
