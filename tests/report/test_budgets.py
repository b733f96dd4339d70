"""Curves over budgets, from runs made by hand."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trajvit.report import budgets, figures, page, shown
from trajvit.report.runs import Run

N = 8


def make_run(directory, scores, *, registers=N, model=None):
  """A run with the metrics `scores`, {evaluator: metrics}."""
  tokenizer = dict(name="registers", num_registers=registers)
  manifest = dict(data_hash="d", device="cpu", commit="c", versions={})
  return Run(
    name=directory.split("-seed")[0],
    path=Path(directory),
    config=dict(model=model or dict(tokenizer=tokenizer), total_steps=2),
    metrics=[{"step": 1, "train/loss": 1.0}, {"step": 2, "train/loss": 0.5}],
    timings=[{"step": 1, "time/step_ms": 500}],
    evals={
      f"my_{name}": dict(
        metrics=metrics, manifest=manifest | dict(evaluator=dict(name=name))
      )
      for name, metrics in scores.items()
    },
  )


@pytest.fixture
def runs():
  """Two seeds of nested tokens, and a run of four tokens without budgets."""
  probe = {"accuracy": 60.0, "accuracy@1": 40.0, "accuracy@8": 60.0}
  probe |= {"accuracy@8_low": 50.0, "accuracy@8_high": 70.0}  # no budgets
  return [
    make_run(
      f"nested-seed{seed}",
      dict(
        reconstruction={
          "PSNR_dB": 20.0 + seed,
          "PSNR_dB@2": 15.0,
          "PSNR_dB@1": 12.0 + seed,
          "SSIM": 0.75,
          "tokens@1": 2.0,
        },
        linear_probe=probe | {"chance": 25.0},
        classification={"accuracy": 99.0},
      ),
    )
    for seed in (0, 1)
  ] + [
    make_run(
      "fixed-seed0",
      dict(reconstruction={"PSNR_dB": 17.5, "SSIM": 0.5, "tokens": 4.0}),
      registers=4,
    )
  ]


def test_a_curve_ends_at_all_tokens(runs):
  psnr, ssim = budgets.SCORES["reconstruction"]
  (accuracy,) = budgets.SCORES["linear_probe"]
  found = budgets.curve(runs[1], "my_reconstruction", psnr)
  assert list(found.items()) == [(1, 13.0), (2, 15.0), (8, 21.0)]
  assert budgets.curve(runs[1], "my_reconstruction", ssim) == {8: 0.75}
  expected = {1: 40.0, 8: 60.0}
  assert budgets.curve(runs[0], "my_linear_probe", accuracy) == expected
  assert budgets.curve(runs[2], "my_linear_probe", accuracy) == {}


def test_a_fixed_number_of_tokens_is_a_point(runs):
  psnr, _ = budgets.SCORES["reconstruction"]
  assert budgets.curve(runs[2], "my_reconstruction", psnr) == {4: 17.5}
  metrics = dict(reconstruction={"PSNR_dB": 9.0, "tokens": 127.6})
  patches = make_run("a", metrics, model=dict(tokenizer=dict(name="tubelet")))
  assert budgets.curve(patches, "my_reconstruction", psnr) == {128: 9.0}


def test_scores_are_known_by_their_evaluator(runs):
  found = [(key, score.name) for key, score in budgets.budget_scores(runs)]
  assert found == [
    ("my_reconstruction", "PSNR_dB"),
    ("my_reconstruction", "SSIM"),
    ("my_linear_probe", "accuracy"),
  ]
  assert shown.result_keys(runs)[0] == "my_classification"


def test_the_table_has_means_of_seeds(runs):
  header, rows = budgets.as_table(runs)
  cells = [dict(zip(header, row, strict=True)) for row in rows]
  assert header[3:] == ["k = 1", "k = 2", "k = 4", "k = 8"]
  assert [(row["method"], row["score"]) for row in cells] == [
    ("nested", "PSNR (dB)"),
    ("fixed", "PSNR (dB)"),
    ("nested", "SSIM"),
    ("fixed", "SSIM"),
    ("nested", "probe accuracy (%)"),
  ]
  assert cells[0]["k = 1"] == "12.50±0.50" and cells[0]["k = 4"] == "-"
  assert cells[1]["k = 4"] == "17.50" and cells[1]["k = 1"] == "-"


def test_the_rows_have_the_numbers_in_full(runs):
  runs[2].evals["my_reconstruction"]["metrics"]["SSIM"] = 1 / 3
  header, *rows = budgets.run_rows(runs)
  rows = [dict(zip(header, row, strict=True)) for row in rows]
  assert len(rows) == 2 * (3 + 1 + 2) + 2
  assert {row["run"] for row in rows if row["method"] == "nested"} == {
    "nested-seed0",
    "nested-seed1",
  }
  (one,) = (r for r in rows if r["method"] == "fixed" and r["score"] == "SSIM")
  assert one["value"] == 1 / 3 and one["k"] == 4


def test_a_figure_has_a_panel_a_score(runs):
  psnr, ssim, accuracy = figures.against_budget(runs).panels
  assert psnr.x.at == (1, 2, 4, 8) and psnr.x.log
  line, nested, fixed = psnr.series
  assert (line.kind, line.x, line.y) == ("line", (1, 2, 8), (12.5, 15.0, 20.5))
  assert nested.low == (12.0, 15.0, 20.0) and nested.high[0] == 13.0
  assert (fixed.x, fixed.y, fixed.kind) == ((4,), (17.5,), "points")
  assert accuracy.levels == ((25.0, "chance"),) and ssim.levels == ()


def test_the_page_shows_curves_and_pictures(runs, tmp_path):
  buffer = io.BytesIO()
  Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(buffer, "gif")
  picture = page.Picture("all.gif", "all frames", buffer.getvalue())
  path = page.write_page(
    tmp_path / "page.html",
    runs,
    title="t",
    sections=[page.Section("Reconstructions", [picture])],
  )
  written = path.read_text()
  assert "12.50±0.50" in written and "Reconstructions" in written
  assert "all frames" in written and "Trajectories" not in written
  assert written.count("data:image/gif;base64,") == 1
  files = {file.name for file in (tmp_path / "page_files").iterdir()}
  assert {"budgets.csv", "budgets.png", "all.gif"} <= files
