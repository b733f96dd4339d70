"""A run of train.py averaged and converted, then evaluated and exported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from smoke_run import smoke_arguments

from trajvit import cli
from trajvit.checkpoints.saved import find_saved
from trajvit.training.functional import named_leaves

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ARGUMENTS = smoke_arguments(4, 2)


def run(*words):
  done = subprocess.run(
    [sys.executable, *map(str, words)],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=1200,
  )
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_a_mean_in_bfloat16_is_evaluated_and_exported(tmp_path, capsys):
  trained, mean, small = (tmp_path / x for x in ("run", "mean", "small"))
  cache = f"--config.compilation_cache={tmp_path / 'compiled'}"
  run("train.py", *ARGUMENTS, cache, f"--workdir={trained}", "--profile=2:3")
  assert len(list(trained.glob("profile/**/*.xplane.pb"))) == 1
  words = ["average", trained, "--last", 2, "--out", mean]
  assert cli.main(["ckpt", *map(str, words)]) == 0
  words = ["convert", mean, "--dtype", "bfloat16", "--out", small]
  assert cli.main(["ckpt", *map(str, words)]) == 0
  assert find_saved(mean).meta["made_from"] == [
    [str(trained), 2],
    [str(trained), 4],
  ]
  kernels = named_leaves(find_saved(small).state["params"])
  assert {str(x.dtype) for x in kernels.values()} == {"bfloat16"}
  assert cli.main(["ckpt", "inspect", str(small)]) == 0
  assert "made_by: convert: bfloat16" in capsys.readouterr().out

  found = json.loads(run("eval.py", f"--workdir={small}").splitlines()[-1])
  assert found["step"] == 4
  assert found["retrieval/n_evaluated"] == 8
  out = small / "export"
  words = ["export", str(small), str(out), "--platforms=cpu"]
  assert cli.main(words) == 0
  assert (out / "model.safetensors").exists()
