"""A run of train.py, exported in fewer bits: evaluated before and after."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from smoke_run import smoke_arguments

import trajvit
from trajvit import cli
from trajvit.export.parity import random_inputs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
  """The directory of a run that train.py made."""
  workdir = tmp_path_factory.mktemp("runs") / "smoke"
  command = [sys.executable, "train.py", *smoke_arguments(30, 30)]
  subprocess.run(
    [*command, f"--workdir={workdir}"],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    check=True,
    timeout=300,
  )
  return workdir


def code_of(card: str) -> str:
  """The code of a model card that needs no trajvit."""
  section = card.split("## Without trajvit")[1]
  return re.search("```python\n(.*?)```", section, re.S).group(1)


@pytest.mark.slow
def test_int8_is_evaluated_before_and_after(smoke, capsys):
  out = smoke / "int8"
  command = ["export", str(smoke), str(out), "--quantize", "int8"]
  assert cli.main([*command, "--platforms", "cpu"]) == 0
  card = (out / "README.md").read_text()
  for text in (capsys.readouterr().out, card):
    assert "kernels in int8 by qwix" in text
    assert "| retrieval/t2v_R@1 |" in text
  found = json.loads((out / "parity.json").read_text())
  report = found["stablehlo"]["accuracy"]
  assert {"video", "text"} == report["evaluated"].keys()
  assert all(x["worst"] > 0.999 for x in report["evaluated"].values())
  trained = json.loads((smoke / "eval" / "retrieval.json").read_text())
  for name in ("t2v_mean_rank", "v2t_mean_rank"):
    pair = report["evaluations"][f"retrieval/{name}"]
    assert pair["before"] == pytest.approx(trained["metrics"][name], abs=0.5)
    assert pair["after"] == pytest.approx(pair["before"], abs=0.5)


@pytest.mark.slow
def test_bfloat16_runs_by_the_code_of_its_card(smoke, capsys):
  out = smoke / "bfloat16"
  command = ["export", str(smoke), str(out), "--quantize", "bfloat16"]
  assert cli.main([*command, "--platforms", "cpu", "--no-evaluate"]) == 0
  assert "Nothing was evaluated" in capsys.readouterr().out
  encoder = trajvit.load(out)
  clip, _ = random_inputs(2, encoder.preprocessing)
  names = dict(directory=out, frames=clip.frames, tracks=clip.tracks)
  exec(code_of((out / "README.md").read_text()), names)
  expected = encoder.encode(clip.frames, clip.tracks)
  np.testing.assert_array_equal(names["outputs"], expected)
  for program in out.glob("*.stablehlo"):
    program.unlink()
  alone = trajvit.load(out).encode(clip.frames, clip.tracks)
  np.testing.assert_allclose(alone, expected, atol=2e-2)
