"""The bench of exports times the same programs, or says why it does not."""

import json

import pytest
from tiny_runs import exported_run

from trajvit import cli


@pytest.mark.slow
def test_a_run_and_its_export_are_timed_and_compared(tmp_path, capsys):
  run, out = exported_run(), tmp_path / "rows.json"
  command = ["bench", "exports", str(run), str(run / "export"), "--batch", "2"]
  assert cli.main([*command, "--rounds", "1", "--out", str(out)]) == 0
  sections = json.loads(out.read_text())["sections"]
  assert sections.keys() == {"encode", "encode_text"}
  for rows in sections.values():
    forms = [f"{run.name} jit", "export stablehlo"]
    assert [row["form"] for row in rows] == forms
    assert all(row["ms"] > 0 and row["difference"] < 1e-5 for row in rows)
  assert "export stablehlo" in capsys.readouterr().out


def test_a_program_that_is_not_there_is_named(capsys):
  path = str(exported_run() / "export")
  assert cli.main(["bench", "exports", path, "--programs", "decode"]) != 0
  assert "decode" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["nothing", "config.json"])
def test_a_path_that_is_no_encoder(tmp_path, name, capsys):
  (tmp_path / name).mkdir()
  assert cli.main(["bench", "exports", str(tmp_path / name)]) != 0
  assert "no export and no run" in capsys.readouterr().err
