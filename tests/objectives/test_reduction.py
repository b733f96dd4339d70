import jax.numpy as jnp
import pytest

from trajvit.objectives import build_objectives


def outputs(*reducers):
  return {"aux": {"encoder": {"reducers": list(reducers)}}}


def test_losses_are_summed_and_named():
  objectives = build_objectives({"reduction": {"weight": 2.0}})
  first, second = {"losses": {"a": jnp.ones(())}}, {"losses": {"b": 3.0}}
  loss, metrics = objectives(outputs({}, first, second), None)
  assert loss == 8
  assert metrics["reduction/1/a"] == 1 and metrics["reduction/2/b"] == 3


def test_reducers_without_a_loss_are_refused():
  objectives = build_objectives({"reduction": {}})
  with pytest.raises(ValueError, match="needs a reducer with losses"):
    objectives(outputs({}, {"tokens_in": 3}), None)
