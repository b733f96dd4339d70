"""The report, from run directories written by hand."""

import json

import pytest

from trajvit import cli
from trajvit.report import table
from trajvit.report.page import write_page
from trajvit.report.runs import differing_manifests, group_runs, read_run

MANIFEST = dict(
  data_hash="d", size=64, device="cpu x 1", commit="c", versions={"jax": "1"}
)


def write_run(
  path, *, score, tokenizer="trajectory_light", truth=True, gflops=1.0, **extra
):
  """A run of 4 steps whose validation R@5 grows by 10 a step."""
  path.mkdir()
  config = dict(
    model=dict(tokenizer=dict(name=tokenizer)),
    data=dict(batch_size=2),
    total_steps=4,
  )
  (path / "config.json").write_text(json.dumps(config))
  rows = [
    {"step": i, "train/loss": 1 / i, "validation/t2v_R@5": 10.0 * i}
    for i in range(1, 5)
  ]
  write_rows(path / "metrics.jsonl", rows)
  times = [
    {"step": i, "time/step_ms": t} for i, t in enumerate([900, 500, 250])
  ]
  write_rows(path / "timings.jsonl", times)
  (path / "eval").mkdir()
  manifest = MANIFEST | dict(tracks_are_ground_truth=truth) | extra
  ranks = {f"{way}_R@{k}": score for way in ("t2v", "v2t") for k in (1, 5)}
  results = dict(
    static=ranks | dict(choice_accuracy=12.5),
    validation=ranks,
    cost=dict(
      tokens_per_clip_mean=7.25, tokens_per_clip_p95=9, GFLOPs_per_clip=gflops
    ),
  )
  for key, metrics in results.items():
    text = json.dumps(dict(metrics=metrics, manifest=manifest))
    (path / "eval" / f"{key}.json").write_text(text)
  return path


def write_rows(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def runs(tmp_path):
  vit = dict(tokenizer="tubelet", gflops=2.0)
  return [
    read_run(write_run(tmp_path / "ours-seed0", score=50.0)),
    read_run(write_run(tmp_path / "ours-seed1", score=60.0)),
    read_run(write_run(tmp_path / "pixels-seed0", score=40.0, truth=False)),
    read_run(write_run(tmp_path / "vit-seed0", score=10.0, **vit)),
  ]


def test_seeds_share_a_row_with_mean_and_spread(runs):
  header, rows = table.comparison(runs)
  cells = [dict(zip(header, row, strict=True)) for row in rows]
  assert [row["method"] for row in cells] == ["ours", "pixels", "vit"]
  assert cells[0]["static t2v R@1 / R@5"] == "55.0±5.0 / 55.0±5.0"
  assert cells[2]["static v2t R@1 / R@5"] == "10.0 / 10.0"
  assert cells[0]["steps/s"] == "2.0±0.0"  # 1 / the median of 0.5 s
  assert cells[2]["GFLOPs"] == "2.000" and cells[2]["tokens"] == "7.2"
  assert "validation t2v R@1 / R@5" not in header


def test_a_result_that_leans_on_ground_truth_says_so(runs):
  tracks = {name: group[0].tracks for name, group in group_runs(runs).items()}
  assert tracks == {
    "ours": "ground truth",
    "pixels": "from pixels",
    "vit": "none used",
  }
  assert "ground truth" in table.as_text(*table.comparison(runs))


def test_equal_compute_is_read_where_the_cheaper_run_ends(runs):
  rows = table.equal_compute(runs, "ours")
  vit = next(row for row in rows if row["method"] == "vit")
  # ours: 4 steps at 3 * 1 * 2 GFLOPs; vit has spent that after 2 steps.
  assert vit["tflops"] == 0.024
  assert vit["ours"] == (4, 40.0) and vit["theirs"] == (2, 20.0)
  assert table.equal_compute(runs, "nobody") == []


def test_what_runs_do_not_share_is_named(tmp_path, runs):
  other = write_run(tmp_path / "other-seed0", score=1.0, size=128)
  runs = [*runs, read_run(other)]
  assert differing_manifests(runs, "static") == {"size": [64, 128]}
  page = write_page(tmp_path / "page.html", runs, title="t").read_text()
  assert "differ in size: 64, 128" in page


def test_the_page_has_everything_in_one_file(tmp_path, runs):
  path = write_page(
    tmp_path / "report" / "index.html",
    runs,
    title="A <title>",
    ours="ours",
    pictures=[("moving & drawn", b"a PNG")],
    notes=["at this budget"],
  )
  page = path.read_text()
  assert "A &lt;title&gt;" in page and "moving &amp; drawn" in page
  assert page.count("data:image/png;base64,") == 4
  assert "equal training compute" in page and "at this budget" in page
  assert "http" not in page  # nothing is fetched


def test_the_command_prints_the_table(tmp_path, runs, capsys):
  out = tmp_path / "out.html"
  paths = [str(run.path) for run in runs]
  assert cli.main(["report", *paths, "--out", str(out)]) == 0
  assert out.exists() and "55.0±5.0" in capsys.readouterr().out
  assert cli.main(["report", str(tmp_path), "--out", str(out)]) == 2
  assert "is not a trained run: no config.json" in capsys.readouterr().err
