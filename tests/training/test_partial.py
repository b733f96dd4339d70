"""A checkpoint that is not the model's: refused, or taken as far as it goes."""

import jax
import numpy as np
import pytest

from trajvit.training.checkpoint import Checkpoints, abstract
from trajvit.training.config import CheckpointConfig, MeshConfig
from trajvit.training.functional import named_leaves, path_name
from trajvit.training.partial import restore_partly
from trajvit.training.sharding import build_mesh, replicated


def like(variables):
  everywhere = replicated(build_mesh(MeshConfig()))
  shapes = jax.tree.map(lambda _: everywhere, variables)
  return abstract(variables, shapes)


@pytest.fixture(name="saved")
def _saved(tiny, tmp_path):
  make_training, _, _ = tiny
  state, *_ = make_training()
  checkpoints = Checkpoints(tmp_path, CheckpointConfig(every=1))
  checkpoints.save(1, state, data={}, meta={})
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  return checkpoints, jax.device_get(variables)


def other_model(variables):
  """An array more, one of another shape; and the name of that one."""
  name = min(named_leaves(variables["params"]))
  params = jax.tree_util.tree_map_with_path(
    lambda path, x: np.full((9, 9), 5.0) if path_name(path) == name else x,
    variables["params"],
  )
  params["head"] = {"kernel": np.full((2, 3), 7.0, np.float32)}
  return {**variables, "params": params}, f"params/{name}"


def test_what_differs_is_named(saved):
  checkpoints, variables = saved
  model, changed = other_model(variables)
  with pytest.raises(ValueError, match="does not fit") as error:
    checkpoints.restore_variables(like(model))
  text = str(error.value)
  assert f"{changed} is " in text and "(9, 9) in the model" in text
  assert "params/head/kernel is in the model and not" in text
  del model["params"]["head"]
  fewer = {**variables, "params": dict(variables["params"])}
  gone = fewer["params"].popitem()[0]
  with pytest.raises(ValueError, match=f"{gone}.* is in the checkpoint"):
    checkpoints.restore_variables(like(fewer))


def test_the_rest_keeps_its_initial_values(saved, caplog):
  checkpoints, variables = saved
  model, changed = other_model(variables)
  found = restore_partly(checkpoints, like(model), model, step=1)
  found, expected = named_leaves(found), named_leaves(variables)
  for name, value in found.items():
    if name == "params/head/kernel":
      assert (value == 7).all()
    elif name == changed:
      assert value.shape == (9, 9) and (value == 5).all()
    else:
      np.testing.assert_array_equal(value, expected[name])
  assert "params/head/kernel is in the model and not" in caplog.text
  assert f"{changed} is" in caplog.text
  with pytest.raises(ValueError, match="not one array"):
    nothing = {"params": {"x": np.zeros(2)}, "batch_stats": {}}
    restore_partly(checkpoints, like(nothing), nothing, step=1)
