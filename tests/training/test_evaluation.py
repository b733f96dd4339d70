"""An evaluation: when it runs, what it returns, and its manifest."""

import json
import types

import jax
import pytest

from trajvit.training.config import read_config
from trajvit.training.evaluation import Evaluation, evaluate_all

CONFIG = {
  "seed": 0,
  "total_steps": 10,
  "log_every": 1,
  "data": {"batch_size": 4},
  "model": {"name": "m", "dtype": "bfloat16"},
  "objectives": {},
  "optimizer": {"learning_rate": 1e-3, "warmup_steps": 2},
  "checkpoint": {"every": 5},
  "evals": {
    "test": {"name": "retrieval", "every": 4, "data": {"name": "s"}, "k": 3},
    "late": {"data": {"name": "s"}},
  },
}


@pytest.fixture
def loader():
  return types.SimpleNamespace(
    fingerprint=lambda: "abc",
    source=types.SimpleNamespace(tracks_are_ground_truth=False),
    failures=types.SimpleNamespace(failures=2, reasons={"a.mp4": "empty"}),
    clip=types.SimpleNamespace(
      frames=8, size=64, sampler="middle", augment="none"
    ),
    views=1,
    captions=1,
  )


class Evaluator:
  def run(self, predict, variables):
    return {"R@1": predict(variables, None), "n_evaluated": 7, "n_missing": 2}


def test_result_and_manifest(loader, tmp_path):
  evaluation = Evaluation("test", read_config(CONFIG), loader, Evaluator())
  metrics = evaluation.run(
    lambda variables, batch: variables["x"],
    {"x": 0.5},
    step=8,
    directory=tmp_path / "eval",
  )
  assert metrics == {
    "test/R@1": 0.5,
    "test/n_evaluated": 7,
    "test/n_missing": 2,
  }
  written = json.loads((tmp_path / "eval" / "test.json").read_text())
  assert written["metrics"]["R@1"] == 0.5
  assert written["missing"] == {"a.mp4": "empty"}
  manifest = written["manifest"]
  assert manifest["versions"]["jax"] == jax.__version__
  expected = {
    "step": 8,
    "evaluator": {"name": "retrieval", "k": 3},
    "data": {"name": "s"},
    "data_hash": "abc",
    "tracks_are_ground_truth": False,
    "clips_evaluated": 7,
    "clips_missing": 2,
    "clips_failed": 2,
    "frames": 8,
    "size": 64,
    "sampling": "middle",
    "resize_and_crop": "none",
    "views": 1,
    "protocol": None,
    "dtype": "bfloat16",
  }
  assert {name: manifest[name] for name in expected} == expected
  assert set(manifest) - set(expected) == {"device", "commit", "versions"}


def test_what_an_evaluator_depends_on_is_in_the_manifest(loader, tmp_path):
  evaluator = Evaluator()
  evaluator.manifest = {"weights": "a1b2"}
  evaluation = Evaluation("test", read_config(CONFIG), loader, evaluator)
  evaluation.run(lambda v, b: 0.0, {}, step=8, directory=tmp_path)
  written = json.loads((tmp_path / "test.json").read_text())
  assert written["manifest"]["weights"] == "a1b2"
  assert written["manifest"]["step"] == 8


def test_nothing_is_written_without_a_directory(loader, tmp_path):
  evaluation = Evaluation("test", read_config(CONFIG), loader, Evaluator())
  evaluation.run(lambda v, b: 0.0, {}, step=8, directory=None)
  assert not list(tmp_path.iterdir())


def test_due(loader):
  config = read_config(CONFIG)
  steps = {
    key: [
      step
      for step in range(1, 11)
      if Evaluation(key, config, loader, None).due(step)
    ]
    for key in ("test", "late")
  }
  assert steps == {"test": [4, 8, 10], "late": [10]}


class Scorer:
  """Counts what it is given to score."""

  def __init__(self, *wanted):
    self.wanted = wanted

  def score(self, features):
    return {"seen": float(len(features.names))}


def test_evaluations_of_the_same_clips_share_a_pass(loader, tmp_path):
  config = read_config(
    CONFIG
    | {
      "evals": {
        name: {"name": "x", "data": {"name": "s"}} for name in ("a", "b", "c")
      }
    }
  )
  other = types.SimpleNamespace(**{**vars(loader), "views": 3})
  passes = []

  def embed(loader, predict, variables, wanted, prompts):
    passes.append((loader.views, sorted(wanted), prompts))
    return types.SimpleNamespace(names=("n",), missing=(("b.mp4", "bad"),))

  prompted = Scorer("video")
  prompted.prompts = ("p",)
  evaluations = [
    Evaluation("a", config, loader, prompted),
    Evaluation("b", config, loader, Scorer("video", "text")),
    Evaluation("c", config, other, Scorer("video")),
    Evaluation("a", config, loader, Evaluator()),
  ]
  found = evaluate_all(
    evaluations,
    lambda variables, batch: 0.25,
    {},
    step=3,
    directory=tmp_path,
    embed=embed,
  )
  assert passes == [(1, ["text", "video"], ["p"]), (3, ["video"], [])]
  assert found["b/seen"] == 1.0 and found["a/R@1"] == 0.25
  written = json.loads((tmp_path / "c.json").read_text())
  assert written["missing"] == {"b.mp4": "bad"}
  assert written["manifest"]["views"] == 3


def test_a_probe_is_handed_the_clips_it_trains_on(loader, tmp_path):
  config = read_config(
    CONFIG
    | {"evals": {key: {"name": "x", "data": {"name": "s"}} for key in "ab"}}
  )
  source = types.SimpleNamespace(
    **{**vars(loader), "fingerprint": lambda: "those to train on"}
  )
  passes = []

  class Probe(Scorer):
    train_loader = source

    def score(self, features, train):
      return {"from": float(train.names[0]), "n_evaluated": 1.0}

  def embed(loader, predict, variables, wanted, prompts):
    passes.append(loader.fingerprint())
    return types.SimpleNamespace(names=(str(len(passes)),), missing=())

  found = evaluate_all(
    [Evaluation(key, config, loader, Probe("video")) for key in "ab"],
    None,
    {},
    step=3,
    directory=tmp_path,
    embed=embed,
  )
  assert passes == [loader.fingerprint(), "those to train on"]
  assert found["a/from"] == found["b/from"] == 2.0
  written = json.loads((tmp_path / "a.json").read_text())
  assert written["manifest"]["train_data_hash"] == "those to train on"
