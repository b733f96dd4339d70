"""The benchmark of reducers: an encoder cut open, and a table that is fair."""

import argparse
import csv
import types

import jax
import numpy as np
import pytest
from tiny import make_batch

from trajvit.bench import reducers
from trajvit.bench.reduced_run import token_grid, trained_for, with_reducer
from trajvit.bench.reducer_cases import CASES, Case, chosen
from trajvit.models import build_model
from trajvit.reducers import REDUCERS
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun


@pytest.fixture(scope="module")
def batch():
  return make_batch(np.random.default_rng(0))


@pytest.fixture(scope="module")
def run(batch):
  frames = batch.clip.frames.shape
  context = dict(
    clip_shape=frames[1:4],
    max_tracks=4,
    vocab_size=16,
    text_length=batch.text.ids.shape[-1],
  )
  model = dict(
    name="video_text",
    tokenizer=dict(name="tubelet", patch=(2, frames[2] // 2, frames[3] // 2)),
    encoder=dict(name="vit", width=8, depth=3, num_heads=2),
    text=dict(name="transformer", width=8, depth=1, num_heads=2),
    embed_dim=4,
    pool="mean",
  )
  config = types.SimpleNamespace(model=model, seed=0)

  def build():
    return build_model(model, seed=0, **context)

  init, apply = functional(build)
  meta = {"model_context": context}
  return RestoredRun(config, build, apply, init(), 0, False, meta)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["input", "middle", "output"])
def test_a_reducer_that_keeps_all_changes_nothing(run, batch, place):
  case, grid = Case("uniform_k", place), token_grid(run)
  count = int(np.prod(grid)) + (place != "input")
  reduced = with_reducer(run, case, case.spec(count, grid))
  got, metrics = jax.jit(reduced.embed)(reduced.variables, batch)
  whole = run.apply(run.variables, batch)["video_embedding"]
  np.testing.assert_allclose(got, whole, atol=1e-5)
  (changed,) = (x for name, x in metrics.items() if name.endswith("changed"))
  assert changed == 0


@pytest.mark.slow
def test_training_moves_the_parameters(run, batch):
  case = Case("uniform_k", "middle")
  reduced = with_reducer(run, case, case.spec(4, token_grid(run)))
  before = jax.tree.leaves(reduced.variables)
  after = trained_for(reduced, iter([(batch, None)] * 2), 2, seed=0)
  after = jax.tree.leaves(after.variables)
  assert any((x != y).any() for x, y in zip(before, after, strict=True))


def test_every_case_is_a_reducer_and_every_reducer_is_compared():
  assert {case.name for case in CASES} == set(REDUCERS)
  for case in CASES:
    assert case.spec(9, (4, 4, 4))["name"] == case.name


def test_random_stands_beside_what_is_chosen():
  names = [(case.name, case.place) for case in chosen(["first_k"], learned=0)]
  assert ("random_k", names[-1][1]) in names
  with pytest.raises(ValueError, match="no reducer best_k to compare"):
    chosen(["best_k"], learned=False)


def row(name, score, spread=0.0, **values):
  usual = dict(
    reducer=name,
    place="input",
    kept=0.5,
    tokens=9.0,
    choice=(12.5, 0.0),
    probe=None,
    GFLOPs=0.1,
    unbounded_loops=0,
    latency=0.5,
  )
  return usual | {"R@5": (score, spread)} | values


def test_a_verdict_needs_more_than_the_spread():
  rows = [row("random_k", 10, 1), row("a", 13, 1), row("b", 12, 1.5)]
  rows.append(row("c", 5, 1))
  verdicts = [reducers.verdict(one, rows) for one in rows]
  assert verdicts == ["", "+ +3.0", "= +2.0", "- -5.0"]
  assert reducers.verdict(row("d", 99, kept=0.1), rows) == ""


def test_the_command_writes_what_is_asked_for(monkeypatch, tmp_path, capsys):
  class Bench:
    def __init__(self, args):
      pass

    def dense(self):
      return row("none", 20, place="", kept=1.0)

    def measure(self, case, kept):
      if case.place == "output":
        raise ValueError("a frame does not fit")
      return row(case.name, 10, place=case.place, kept=kept, changed=0.0)

  monkeypatch.setattr(reducers, "ReducerBench", Bench)
  parser = argparse.ArgumentParser()
  reducers.add_arguments(parser)
  files = {name: str(tmp_path / name) for name in ("a.json", "a.csv", "a.png")}
  reducers.run(
    parser.parse_args(
      ["run", "--reducers", "uniform_k", "evs", "--kept", "0.5"]
      + ["--out", files["a.json"], "--csv", files["a.csv"]]
      + ["--figure", files["a.png"], "--markdown", str(tmp_path / "a.md")]
    )
  )
  assert "uniform_k (input) [never engaged]" in capsys.readouterr().out
  with open(files["a.csv"], newline="") as file:
    header, dense, *rest = csv.reader(file)
  assert header == list(reducers.HEADER) and dense[0].startswith("none")
  # random_k and uniform_k, each at the input and in the middle.
  assert len(rest) == 4
  assert (tmp_path / "a.png").stat().st_size > 1000
  page = (tmp_path / "a.md").read_text()
  assert "never engaged" in page
  assert "left out: random_k (output), kept 0.5: a frame does not" in page
