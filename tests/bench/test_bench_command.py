import json

import pytest

from trajvit import cli
from trajvit.bench import attention_plan
from trajvit.bench.command import BENCHMARKS
from trajvit.ops.attention.grids.density import Density, Row
from trajvit.ops.attention.grids.orders import Raster
from trajvit.ops.attention.patterns import Window

TINY = [
  *["bench", "attention", "--lengths", "64", "--head-dim", "8"],
  *["--block-query", "16", "--block-key", "16", "--rounds", "1"],
  *["--frame", "4", "4", "--implementation", "xla"],
]


@pytest.fixture(autouse=True)
def no_large_products(monkeypatch):
  """The ceilings of a machine take a second."""
  monkeypatch.setattr("trajvit.bench.attention.CPU_CEILINGS", (32, 1))


@pytest.mark.slow
def test_a_run_prints_and_writes_the_same_table(tmp_path, capsys):
  out, page = tmp_path / "a.json", tmp_path / "docs" / "a.md"
  arguments = ["--densities", "0.25", "--patterns", "window:t=0"]
  arguments += ["--out", str(out), "--markdown", str(page)]
  assert cli.main([*TINY, *arguments]) == 0
  printed = capsys.readouterr().out.splitlines()
  assert printed[0].startswith("trajvit")
  assert "jax" in printed[1]
  assert printed[2].startswith("commit ")
  document = json.loads(out.read_text())
  assert document["machine"]["command"] == printed[0]
  ceilings, measured = document["sections"].values()
  assert ceilings[0]["flops_per_second"] > 0
  names = [row["mask"] for row in measured]
  assert names == ["dense", "random tiles 0.25", "window:t=0"]
  text = page.read_text()
  assert text.startswith(f"# Block-sparse attention\n\n```\n{printed[0]}\n```")
  for name in names:
    assert f"| {name} |" in text
    assert any(line.startswith(name) for line in printed)


def test_a_failure_is_the_exit_status(capsys):
  arguments = [*TINY[:-1], "pallas_tpu", "--densities", "1"]
  assert cli.main(arguments) == 1
  assert "random tiles 1, pallas_tpu, 64 tokens, forward: " in (
    capsys.readouterr().out
  )


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--patterns", "windo"], "unknown attention pattern 'windo'; known: "),
    (["--densities", "2"], "a density must be in (0, 1], got 2.0"),
    (["--lengths", "60", "--patterns", "window"], "whole frames of 4 x 4"),
  ],
)
def test_what_cannot_be_measured_says_why(capsys, arguments, message):
  assert cli.main([*TINY, *arguments]) == 2
  assert message in capsys.readouterr().err


def test_tpus_without_libtpu_say_what_to_install(capsys, monkeypatch):
  why = "libtpu, the compiler, is not installed: pip install libtpu"
  monkeypatch.setattr(attention_plan, "libtpu_reason", lambda: why)
  assert cli.main([*TINY, "--tpu", "v5e"]) == 2
  assert "trajvit[plan]" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--tpu", "--suite", "--implementation"])
def test_an_unknown_name_lists_the_known_ones(capsys, flag):
  with pytest.raises(SystemExit):
    cli.main([*TINY, flag, "nothing"])
  assert "choose from" in capsys.readouterr().err


def test_the_density_table_is_printed_without_timing(
  capsys, monkeypatch, tmp_path
):
  density = Density(0.1, 0.2, 0.5, 0.0, 1.5)
  asked = []

  def table(grids, block):
    asked.append((grids, block))
    return [Row(grids[0], Window(t=1), Raster(), density)]

  monkeypatch.setattr("trajvit.bench.attention.density_table", table)
  out = tmp_path / "a.json"
  assert cli.main([*TINY, "--density-table", "--out", str(out)]) == 0
  assert asked == [([(4, 4, 4)], 16)]
  printed = capsys.readouterr().out
  assert "| 4x4x4 | Window(t=1" in printed
  assert "ms" not in printed
  (row,) = json.loads(out.read_text())["sections"]["Density"]
  assert row["block_density"] == 0.2


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_help(name, capsys):
  with pytest.raises(SystemExit) as status:
    cli.main(["bench", name, "--help"])
  assert status.value.code == 0
  assert "--help" in capsys.readouterr().out
