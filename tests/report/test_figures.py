"""Figures of runs: what is a panel, a point, a front, a level of chance."""

import pytest
from handmade_runs import cost, gallery, make_run

from trajvit.report import shown
from trajvit.report.figures import (
  against_cost,
  curves,
  figures_of,
  token_counts,
)


@pytest.fixture
def runs():
  """Two seeds of ours, patches, and a random choice of them."""
  return [
    make_run(
      "ours-seed0",
      dict(static=gallery(50.0), cost=cost(8.0, 1.0)),
      tokenizer="trajectory_light",
    ),
    make_run(
      "ours-seed1",
      dict(static=gallery(60.0), cost=cost(10.0, 1.0)),
      tokenizer="trajectory_light",
    ),
    make_run("patches", dict(static=gallery(40.0), cost=cost(128.0, 2.0))),
    make_run(
      "random",
      dict(static=gallery(20.0), cost=cost(8.0, 0.5)),
      reducers=["random_k"],
    ),
  ]


def by_name(panel):
  return {one.name: one for one in panel.series}


def test_seeds_are_a_point_and_the_front_is_that_of_means(runs):
  tokens, gflops, *_ = shown.COSTS
  (panel,) = against_cost(runs, tokens).panels
  found = by_name(panel)
  ours = found["ours"]
  assert (ours.x, ours.y) == ((9.0,), (55.0,))
  assert (ours.low, ours.high) == ((50.0,), (60.0,))
  assert ours.notes == ("2 seeds, tracks: ground truth",)
  front = found["Pareto front"]
  assert front.x == (8.0, 9.0, 9.0, 128.0)
  assert front.y == (20.0, 20.0, 55.0, 55.0)
  assert panel.levels == ((5.0, "chance"),)  # 5 of 100 clips
  assert panel.x.log and panel.y.low == 0
  assert against_cost(runs, gflops).panels[0].x.label == "GFLOPs a clip"


def test_latency_is_milliseconds_a_clip(runs):
  (panel,) = against_cost(runs, shown.COSTS[2]).panels
  assert by_name(panel)["patches"].x == (10.0,)


def test_a_random_choice_is_drawn_as_a_baseline(runs):
  (panel,) = against_cost(runs, shown.COSTS[0]).panels
  baselines = {one.name for one in panel.series if one.baseline}
  assert baselines == {"random"}
  tokenizer = make_run("r", {}, tokenizer="random_tubes")
  assert tokenizer.is_random and not runs[0].is_random


def test_what_is_not_alike_has_panels_of_its_own(runs):
  other = make_run(
    "other",
    dict(static=gallery(1.0), cost=cost(8.0, 1.0)),
    sampling="uniform",
    device="gpu x 1",
  )
  figure = against_cost([*runs, other], shown.COSTS[0])
  assert [panel.title for panel in figure.panels] == [
    "static, middle",
    "static, uniform",
  ]


def test_one_method_among_several_makes_no_panel(runs):
  runs[0].evals["probe"] = runs[0].evals["static"]
  titles = [x.title for x in against_cost(runs, shown.COSTS[0]).panels]
  assert titles == ["static"]
  assert len(against_cost(runs[2:3], shown.COSTS[0]).panels) == 1


def test_a_confidence_interval_is_the_bar_of_a_single_run(runs):
  ends = {"t2v_R@5_low": 30.0, "t2v_R@5_high": 45.0}
  runs[2].evals["static"]["metrics"].update(ends)
  (panel,) = against_cost(runs, shown.COSTS[0]).panels
  patches = by_name(panel)["patches"]
  assert (patches.low, patches.high) == ((30.0,), (45.0,))


@pytest.mark.parametrize(
  ("name", "metrics", "options", "expected"),
  [
    ("t2v_R@5", dict(n_evaluated=200.0), {}, 2.5),
    ("t2v_R@5", dict(n_evaluated=4.0), {}, 100.0),
    ("v2t_R@1", dict(n_captions=50.0), {}, 2.0),
    ("choice_accuracy", {}, dict(groups=8), 12.5),
    ("top5", dict(n_classes=20.0), {}, 25.0),
    ("accuracy", dict(chance=9.8), {}, 9.8),
    ("mAP", {}, {}, None),
  ],
)
def test_chance(name, metrics, options, expected):
  manifest = dict(evaluator=dict(name="e", **options))
  run = make_run("a", dict(e=metrics), **manifest)
  score = next(score for score in shown.SCORES if score.name == name)
  assert shown.chance(run, "e", score) == expected


def test_curves_are_by_step_and_by_compute(runs):
  loss, by_step, by_compute = curves(runs).panels
  assert loss.title == "training loss" and len(loss.series) == 4
  assert by_step.series[0].x == (1, 2, 3, 4)
  assert by_compute.series[2].x[-1] == 4 * 3 * 2.0 * 2 / 1000
  ours = [one for one in loss.series if one.name == "ours"]
  assert len(ours) == 2 and ours[0].color == ours[1].color


def test_a_long_curve_is_thinned_to_means(runs):
  rows = [{"step": i, "train/loss": float(i % 2)} for i in range(1000)]
  runs[0].metrics[:] = rows
  line = curves(runs[:1]).panels[0].series[0]
  assert len(line.x) == 200 and set(line.y[1:-1]) <= {0.4, 0.6}


def test_token_counts_are_outlines_in_percent(runs):
  assert not token_counts(runs).panels
  details = dict(edges=[0.5, 2.5, 4.5], clips=[3, 1])
  runs[0].evals["cost"]["details"] = dict(tokens_per_clip=details)
  (panel,) = token_counts(runs).panels
  (one,) = panel.series
  assert one.x == (0.5, 0.5, 2.5, 2.5, 4.5, 4.5)
  assert one.y == (0.0, 75.0, 75.0, 25.0, 25.0, 0.0)


def test_runs_without_numbers_have_no_figures():
  run = make_run("a", {})
  run.metrics.clear()
  assert figures_of([run]) == []


def test_scores_are_known_by_name_numbered_ones_too():
  metrics = {"weighted@20": 30.0, "weighted@5": 20.0, "weighted@5_low": 10.0}
  run = make_run("a", dict(knn=metrics | dict(chance=9.0, majority=1.0)))
  found = shown.scores_of([run], "knn")
  assert [score.label for score in found] == ["k-NN, k = 5", "k-NN, k = 20"]
  assert shown.interval(run, "knn", found[0].name) is None
  assert shown.chance(run, "knn", shown.headline([run], "knn")) == 9.0
  both = make_run("a", dict(e={"top5": 1.0, "accuracy": 2.0, "frechet": 3.0}))
  assert shown.headline([both], "e").name == "accuracy"
  less = make_run("a", dict(e={"frechet": 3.0}))
  assert shown.headline([less], "e") is None
  assert shown.result_keys([run, both, less]) == ["e", "knn"]
