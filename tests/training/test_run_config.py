"""Strictness: every key of a config is read by somebody or is an error."""

import copy
import json

import pytest

from trajvit.training.config import plain_values, read_config

CONFIG = {
  "seed": 0,
  "total_steps": 10,
  "log_every": 1,
  "data": {"batch_size": 4},
  "model": {"name": "m"},
  "objectives": {"contrastive": {"weight": 1.0}},
  "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
  "checkpoint": {"every": 5},
  "evals": {"quick": {"name": "retrieval", "data": {"name": "s"}, "k": 3}},
}


def changed(path, value):
  config = copy.deepcopy(CONFIG)
  *parents, last = path.split(".")
  node = config
  for name in parents:
    node = node.setdefault(name, {})
  node[last] = value
  return config


def test_reads_a_config():
  config = read_config(CONFIG)
  assert config.optimizer.floor == 0.01
  quick = config.evals["quick"]
  assert (quick.every, quick.data) == (0, {"name": "s"})
  assert quick.spec == {"name": "retrieval", "k": 3}


def test_an_evaluation_is_named_after_its_key():
  config = read_config(changed("evals.retrieval", {"data": {}}))
  assert config.evals["retrieval"].spec == {"name": "retrieval"}


def test_a_config_can_be_written_as_it_was_given():
  config = read_config(changed("warm_start", {"workdir": "x", "parts": {}}))
  values = json.loads(json.dumps(plain_values(config)))
  again = read_config(values)
  assert json.dumps(plain_values(again)) == json.dumps(plain_values(config))
  assert values["evals"]["quick"]["k"] == 3


def test_a_run_starts_from_none_one_or_several_others():
  one, two = ({"workdir": name, "parts": {"a": "b"}} for name in "xy")
  for value, expected in ((None, []), (one, ["x"]), ([one, two], ["x", "y"])):
    config = read_config(changed("warm_start", value))
    assert [run.workdir for run in config.warm_start] == expected


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("learning_rate", 1, "config reads no 'learning_rate'; it takes seed"),
    ("optimizer.lr", 1, "config.optimizer reads no 'lr'"),
    ("checkpoint.keep", 1, "config.checkpoint reads no 'keep'"),
    ("mesh.model", 2, "config.mesh reads no 'model'; it takes data, fsdp"),
    ("optimizer", {}, "config.optimizer needs 'learning_rate'"),
    ("mesh", 3, "config.mesh must be a dict, got 3"),
    ("total_steps", 0, "total_steps >= 1"),
    ("checkpoint.every", 0, "every >= 1"),
    ("checkpoint.keep_best", 2, "together, got 2 and ''"),
    ("evals.a", {}, "config.evals.a needs 'data'"),
    ("warm_start", [{"workdir": "a"}], "config.warm_start needs 'parts'"),
    ("warm_start", {"run": "a"}, "config.warm_start reads no 'run'"),
  ],
)
def test_refuses(path, value, message):
  with pytest.raises(ValueError, match=message):
    read_config(changed(path, value))


def test_a_missing_part_is_named():
  config = {k: v for k, v in CONFIG.items() if k != "model"}
  with pytest.raises(ValueError, match="config needs 'model'"):
    read_config(config)
