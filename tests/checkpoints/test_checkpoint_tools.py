"""Checkpoints that are inspected, averaged and converted, by the command."""

import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import CLIP_SHAPE, FRAMES, GRID, SIZE, TRACKS, WORDS

from trajvit import cli
from trajvit.checkpoints.average import average
from trajvit.checkpoints.saved import find_saved
from trajvit.models import build_model
from trajvit.training.checkpoint import Checkpoints
from trajvit.training.config import CheckpointConfig, read_config
from trajvit.training.functional import functional, named_leaves
from trajvit.training.restore import restore_run
from trajvit.training.state import TrainState
from trajvit.training.workdir import write_run_config

VOCABULARY = ["red", "ball", "moves"]
CONTEXT = dict(
  clip_shape=CLIP_SHAPE,
  max_tracks=TRACKS,
  vocab_size=3 + len(VOCABULARY),
  text_length=WORDS,
)
CONFIG = dict(
  seed=0,
  total_steps=9,
  log_every=1,
  data=dict(
    batch_size=2,
    clip=dict(frames=FRAMES, size=SIZE, track_grid=GRID, max_tracks=TRACKS),
    text=dict(name="words", vocabulary=VOCABULARY, length=WORDS),
  ),
  model=dict(
    name="video_text",
    tokenizer=dict(name="trajectory_light"),
    encoder=dict(name="vit", width=16, depth=1, num_heads=2),
    text=dict(name="transformer", width=16, depth=1, num_heads=2),
    embed_dim=8,
  ),
  objectives=dict(contrastive=dict(weight=1.0)),
  optimizer=dict(learning_rate=1e-3, warmup_steps=1, ema_decay=0.5),
  checkpoint=dict(every=3, keep_last=3),
)
STEPS = 3, 6, 9


def save_run(workdir, shapes, *, seed, config=CONFIG):
  """A run whose weights are drawn: returns {step: state}."""
  rng = np.random.default_rng(seed)

  def draw(x):
    return rng.normal(0, 0.2, x.shape).astype(x.dtype)

  write_run_config(workdir, config)
  checkpoints = Checkpoints(
    workdir / "checkpoints", CheckpointConfig(**config["checkpoint"])
  )
  states = {}
  for step in STEPS:
    states[step] = TrainState(
      step=np.asarray(step, np.int32),
      params=jax.tree.map(draw, shapes["params"]),
      batch_stats={"running": {"mean": draw(jnp.zeros(4))}},
      opt_state=[{"count": np.asarray(step)}],
      ema=jax.tree.map(draw, shapes["params"]),
      halted=np.asarray(False),
    )
    checkpoints.save(
      step,
      states[step],
      data={"step": step, "seed": 0, "fingerprint": "abc"},
      meta={"model_context": CONTEXT, "versions": {"jax": "0.10.2"}},
    )
  checkpoints.close()
  rows = [{"step": step, "train/loss": 1 / step} for step in range(1, 10)]
  rows.append({"step": 9, "retrieval/t2v_R@1": 12.5})
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (workdir / "metrics.jsonl").write_text(text)
  return states


@pytest.fixture(scope="module")
def shapes():
  model = read_config(CONFIG).model
  init, _ = functional(lambda: build_model(model, seed=0, **CONTEXT))
  return jax.eval_shape(init)


@pytest.fixture(scope="module")
def runs(shapes, tmp_path_factory):
  """Two runs with one config: [(workdir, {step: state})]."""
  folder = tmp_path_factory.mktemp("tools")
  return [
    (folder / name, save_run(folder / name, shapes, seed=seed))
    for seed, name in enumerate(["first", "second"])
  ]


def assert_leaves_equal(found, expected):
  found, expected = named_leaves(found), named_leaves(expected)
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype, name
    np.testing.assert_array_equal(found[name], x, err_msg=name)


def test_inspect_tells_what_was_saved(runs, capsys):
  workdir, states = runs[0]
  assert cli.main(["ckpt", "inspect", str(workdir), "--json"]) == 0
  found = json.loads(capsys.readouterr().out)
  params = named_leaves(states[9].params)
  assert (found["step"], found["steps"]) == (9, list(STEPS))
  assert found["metrics"] == {"train/loss": 1 / 9, "retrieval/t2v_R@1": 12.5}
  assert found["data"] == {"step": 9, "seed": 0, "fingerprint": "abc"}
  assert found["meta"]["versions"] == {"jax": "0.10.2"}
  assert found["params"] == {
    name: {
      "shape": list(x.shape),
      "dtype": "float32",
      "count": x.size,
      "bytes": x.nbytes,
    }
    for name, x in params.items()
  }
  size = sum(x.size for x in params.values())
  both = {"leaves": len(params), "count": size, "bytes": 4 * size}
  assert found["parts"]["params"] == found["parts"]["ema"] == both
  assert found["parts"]["opt_state"]["leaves"] == 1

  assert cli.main(["ckpt", "inspect", str(workdir), "--step", "6"]) == 0
  text = capsys.readouterr().out
  assert f"{workdir}, step 6 of 3, 6, 9" in text
  assert "train/loss: 0.16666666666666666" in text
  assert "retrieval" not in text  # of another step
  assert all(name in text for name in params)
  assert "jax: 0.10.2" in text


@pytest.mark.parametrize(
  ("arguments", "steps"),
  [(["--steps", "3", "9"], (3, 9)), (["--last", "2"], (6, 9)), ([], (9,))],
)
def test_the_mean_is_that_of_numpy(runs, tmp_path, arguments, steps):
  out = tmp_path / "mean"
  workdirs = [str(workdir) for workdir, _ in runs]
  words = ["ckpt", "average", *workdirs, *arguments, "--out", str(out)]
  assert cli.main(words) == 0
  averaged = [states[step] for _, states in runs for step in steps]
  saved = find_saved(out)
  assert saved.step == 9
  assert saved.meta["made_by"] == f"average of {2 * len(steps)}"
  assert saved.meta["made_from"][0] == [workdirs[0], steps[0]]
  arrays = saved.read(saved.weights)
  for part in ("params", "ema", "batch_stats"):
    expected = jax.tree.map(
      lambda *x: np.mean(np.stack(x), 0, dtype=np.float64),
      *[getattr(state, part) for state in averaged],
    )
    found, expected = named_leaves(arrays[part]), named_leaves(expected)
    assert found.keys() == expected.keys()
    for name, x in expected.items():
      assert found[name].dtype == np.float32
      np.testing.assert_allclose(found[name], x, rtol=0, atol=1e-6)


def test_bfloat16_is_summed_in_float32(shapes, tmp_path):
  # 256 + 1 is 256 in bfloat16: summed there, the mean would be 64.5.
  values = 256, 1, 1, 2
  paths = []
  for i, value in enumerate(values):
    write_run_config(tmp_path / str(i), CONFIG)
    checkpoints = Checkpoints(
      tmp_path / str(i) / "checkpoints", CheckpointConfig(every=1)
    )
    array = np.full(3, value, jnp.bfloat16)
    count = np.asarray(7)
    checkpoints.save(
      1,
      TrainState(1, {"a": array}, {"count": count}, None, None, False),
      data={},
      meta={"model_context": {}},
    )
    checkpoints.close()
    paths.append(tmp_path / str(i))
  found = average([find_saved(path) for path in paths])
  assert found["params"]["a"].dtype == jnp.bfloat16
  assert found["params"]["a"].tolist() == [65] * 3
  assert found["batch_stats"]["count"] == 7


def test_weights_alone_are_for_another_run_to_start_from(runs, tmp_path):
  workdir, states = runs[0]
  out = tmp_path / "weights"
  words = ["ckpt", "convert", str(workdir), "--step=6", f"--out={out}"]
  assert cli.main(words) == 0
  assert set(find_saved(out).state) == {
    *("step", "params", "batch_stats", "ema", "halted")
  }
  checkpoints = Checkpoints(out / "checkpoints", CheckpointConfig(every=1))
  with pytest.raises(ValueError, match="weights alone.* by config.warm_start"):
    checkpoints.restore(states[6])
  found = checkpoints.restore_on_host(["params", "ema", "batch_stats"])
  for part, arrays in found.items():
    assert_leaves_equal(arrays, getattr(states[6], part))


@pytest.mark.parametrize("ema", [False, True])
def test_converted_weights_are_rounded_and_no_more(runs, shapes, tmp_path, ema):
  workdir, states = runs[0]
  # A model without running statistics, so that it can be restored.
  source, out = tmp_path / "source", tmp_path / "small"
  write_run_config(source, CONFIG)
  checkpoints = Checkpoints(source / "checkpoints", CheckpointConfig(every=1))
  saved = states[9]
  checkpoints.save(
    9,
    TrainState(9, saved.params, {}, None, saved.ema, False),
    data={},
    meta={"model_context": CONTEXT},
  )
  checkpoints.close()
  words = ["ckpt", "convert", str(source), "--dtype=bfloat16", f"--out={out}"]
  assert cli.main(words + ["--ema"] * ema) == 0
  small = find_saved(out)
  assert {x.dtype for x in named_leaves(small.state["params"]).values()} == {
    jnp.dtype(jnp.bfloat16)
  }
  assert ("ema" in small.state) != ema
  run = restore_run(out)  # the moving average where there is one
  expected = jax.tree.map(
    lambda x: x.astype(jnp.bfloat16).astype(np.float32), saved.ema
  )
  assert_leaves_equal(run.variables["params"], expected)
  assert run.ema != ema
  assert run.config.optimizer.ema_decay == (0.0 if ema else 0.5)


def refused(words, capsys):
  assert cli.main(["ckpt", *map(str, words)]) == 2
  return capsys.readouterr().err


def test_what_cannot_be_averaged_is_named(runs, shapes, tmp_path, capsys):
  first, states = runs[0]
  out = tmp_path / "out"
  said = refused(["average", first, "--out", out], capsys)
  assert "at least two checkpoints, got 1" in said
  said = refused(["average", first, "--steps", 3, 5, "--out", out], capsys)
  assert "saved steps: [3, 6, 9]" in said

  # Another config, which may differ if it is said to.
  other = tmp_path / "other"
  shutil.copytree(first, other)
  faster = CONFIG["optimizer"] | {"learning_rate": 2e-3}
  write_run_config(other, CONFIG | {"optimizer": faster})
  words = ["average", first, other, "--out", out]
  said = refused(words, capsys)
  assert "optimizer.learning_rate is 0.001 and 0.002" in said
  assert not out.exists()
  said = refused([*words, "--may-differ", "optimizer.learn"], capsys)
  assert "optimizer.learning_rate" in said
  allowed = ["ckpt", *map(str, words), "--may-differ", "optimizer"]
  assert cli.main(allowed) == 0
  weights = find_saved(out).read(["params"])["params"]
  assert_leaves_equal(weights, states[9].params)  # twice the same

  # Another tree.
  smaller = dict(shapes["params"])
  kernel = jax.ShapeDtypeStruct((16, 4), np.float32)
  smaller["project_text"] = {"kernel": kernel}
  wrong = tmp_path / "wrong"
  save_run(wrong, {"params": smaller}, seed=3)
  said = refused(["average", first, wrong, "--out", tmp_path / "x"], capsys)
  name = "ema/project_text/kernel"
  assert f"{name} is float32[16, 8] in {first}" in said
  assert f"and float32[16, 4] in {wrong}" in said


def test_nothing_is_overwritten(runs, tmp_path, capsys):
  workdir = runs[0][0]
  (tmp_path / "there").mkdir()
  said = refused(["convert", workdir, "--out", tmp_path / "there"], capsys)
  assert "exists, and nothing is overwritten" in said
  said = refused(["convert", workdir, "--out", workdir], capsys)
  assert "nothing is overwritten" in said
  assert not list((tmp_path / "there").iterdir())


def test_what_is_not_there_is_said(runs, tmp_path, capsys):
  workdir = runs[0][0]
  said = refused(["inspect", tmp_path / "none"], capsys)
  assert "no run directory" in said
  write_run_config(tmp_path / "new", CONFIG)
  assert "has no checkpoints" in refused(["inspect", tmp_path / "new"], capsys)
  assert "saved steps" in refused(["inspect", workdir, "--step=4"], capsys)
  bare = tmp_path / "bare"
  words = ["convert", workdir, "--ema", "--out", bare]
  assert cli.main(["ckpt", *map(str, words)]) == 0
  said = refused(["convert", bare, "--ema", "--out", tmp_path / "y"], capsys)
  assert "keeps no moving average" in said
  assert math.isclose(find_saved(bare).config["optimizer"]["ema_decay"], 0)
