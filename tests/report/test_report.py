"""The table, the page and the command, from runs written by hand."""

import csv
import re

import numpy as np
import pytest
from handmade_runs import cost, gallery, make_run, write_run
from PIL import Image

from trajvit import cli
from trajvit.report import table
from trajvit.report.equal_compute import equal_compute
from trajvit.report.examples import Hit, Query
from trajvit.report.page import Picture, Section, write_page
from trajvit.report.runs import group_runs, read_run

LESS = dict(tokenizer="trajectory_light")


def one(name, score, gflops=1.0, **options):
  evals = dict(
    static=gallery(score, choice_accuracy=12.5),
    validation=gallery(score),
    cost=cost(7.25, gflops),
  )
  run = make_run(name, evals, **options)
  for row in run.metrics:
    row["validation/t2v_R@5"] = 10.0 * row["step"]
  return run


@pytest.fixture
def runs():
  return [
    one("ours-seed0", 50.0, **LESS),
    one("ours-seed1", 60.0, **LESS),
    one("pixels-seed0", 40.0, tracks_are_ground_truth=False, **LESS),
    one("vit-seed0", 10.0, gflops=2.0),
  ]


@pytest.fixture
def no_png(monkeypatch):
  """Drawing takes most of the time, and is tested elsewhere."""
  monkeypatch.setattr("trajvit.report.png.draw", lambda figure: b"\x89PNG")


def png(path):
  Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(path)
  return path.read_bytes()


def texts(found, head):
  return [cell.text for cell in found.column(head)]


def test_seeds_share_a_row_with_mean_and_spread(runs):
  found = table.comparison(runs)
  assert texts(found, "method") == ["ours", "pixels", "vit"]
  assert texts(found, "static t2v R@1") == ["55.0±5.0", "40.0", "10.0"]
  assert texts(found, "training steps/s")[0] == "2.0±0.0"
  assert texts(found, "GFLOPs a clip")[2] == "2.000"
  assert texts(found, "ms a clip")[2] == "10.00"
  assert not any("validation" in head.text for head in found.heads)


def test_the_best_of_a_column_is_marked_equal_ones_together(runs):
  found = table.comparison(runs)

  def best(head):
    return [cell.best for cell in found.column(head)]

  assert best("static t2v R@5") == [True, False, False]
  assert best("GFLOPs a clip") == [True, True, False]
  assert best("method") == [False] * 3
  single = table.comparison(runs[3:])
  assert not any(cell.best for cell in single.rows[0])


def test_a_single_run_shows_its_confidence_interval(runs):
  ends = {"t2v_R@5_low": 8.04, "t2v_R@5_high": 12.0}
  for run in runs:
    run.evals["static"]["metrics"].update(ends)
  intervals = [
    x.interval for x in table.comparison(runs).column("static t2v R@5")
  ]
  assert intervals == ["", "[8.0, 12.0]", "[8.0, 12.0]"]
  header, *rows = table.run_rows(runs)
  rows = [dict(zip(header, row, strict=True)) for row in rows]
  ours = [x for x in rows if x["column"] == "static t2v R@5"][:2]
  assert [(x["value"], x["low"]) for x in ours] == [(50.0, 8.04), (60.0, 8.04)]
  assert len([x for x in rows if x["column"] == "training steps/s"]) == 4


def test_a_result_that_leans_on_ground_truth_says_so(runs):
  tracks = {name: group[0].tracks for name, group in group_runs(runs).items()}
  assert tracks == {
    "ours": "ground truth",
    "pixels": "from pixels",
    "vit": "none used",
  }
  assert "ground truth" in table.as_text(table.comparison(runs))


def test_equal_compute_is_read_where_the_cheaper_run_ends(runs):
  rows = equal_compute(runs, "ours")
  vit = next(row for row in rows if row["method"] == "vit")
  # ours: 4 steps at 3 * 1 * 2 GFLOPs; vit has spent that after 2 steps.
  assert vit["tflops"] == 0.024
  assert vit["ours"] == (4, 40.0) and vit["theirs"] == (2, 20.0)
  assert equal_compute(runs, "nobody") == []


def test_other_sampling_is_said_on_the_page(tmp_path, runs, no_png):
  runs.append(one("other", 1.0, sampling="uniform", data_hash="e"))
  page = write_page(tmp_path / "page.html", runs, title="t").read_text()
  assert "Results of static, cost are not in one column" in page
  assert "middle: ours, pixels, vit; sampling uniform: other" in page
  assert "static, uniform t2v R@1" in page
  assert ">sampling</th>" in page


def test_the_page_has_everything_in_one_file(tmp_path, runs):
  hits = [
    Hit(f"clip {i}", 0.5, i == 1, np.full((4, 4, 3), i, np.uint8))
    for i in range(2)
  ]
  path = write_page(
    tmp_path / "report" / "index.html",
    runs,
    title="A <title>",
    ours="ours",
    notes=["at this budget"],
    sections=[
      Section(
        "Trajectories",
        [Picture("a.png", "moving & drawn", png(tmp_path / "a.png"))],
        ["Left out: b."],
      )
    ],
    queries=[Query("ours", "static", "a <red> ball", 2, 100, tuple(hits))],
  )
  page = path.read_text()
  assert "A &lt;title&gt;" in page and "moving &amp; drawn" in page
  assert "equal training compute" in page and "at this budget" in page
  assert "a &lt;red&gt; ball" in page and "2 of 100" in page
  assert page.count("✓ right") == 1 and "Left out: b." in page
  assert not re.search(r"(src|href)=\"(?!data:|#)", page)
  assert "http:" not in page and "https:" not in page

  files = sorted(x.name for x in (path.parent / "index_files").iterdir())
  drawn = [name.removesuffix(".png") for name in files if ".png" in name]
  assert drawn == [
    "a",
    "curves",
    "pareto_GFLOPs_per_clip",
    "pareto_ms_per_clip",
    "pareto_peak_memory_MiB",
    "pareto_tokens_per_clip_mean",
  ]
  assert {f"{name}.csv" for name in drawn[1:]} <= set(files)
  rows = list(
    csv.DictReader((path.parent / "index_files" / "results.csv").open())
  )
  assert rows[0]["run"] == "ours-seed0"
  assert (path.parent / "index_files" / "retrieval_examples.csv").exists()


def test_the_command_prints_the_table(tmp_path, runs, no_png, capsys):
  out = tmp_path / "out.html"
  paths = [str(write_run(run, tmp_path / run.path.name)) for run in runs]
  again = read_run(paths[0])
  assert (again.name, again.evals) == ("ours", runs[0].evals)
  assert cli.main(["report", *paths, "--out", str(out)]) == 0
  assert out.exists() and "55.0±5.0" in capsys.readouterr().out
  assert cli.main(["report", str(tmp_path), "--out", str(out)]) == 2
  assert "is not a trained run: no config.json" in capsys.readouterr().err
  assert cli.main(["report", *paths, "--out", str(out), "--clips=-1"]) == 2
  assert "--clips must be at least 0, got -1" in capsys.readouterr().err
