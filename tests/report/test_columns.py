"""Which results may stand in one column: each reason for and against."""

import pytest
from handmade_runs import MANIFEST, cost, gallery, make_run

from trajvit.report.columns import explain, spell, split
from trajvit.report.differences import as_rows, differences, unlike_seeds
from trajvit.report.table import comparison


def run(name, **changed):
  return make_run(name, dict(static=gallery(50.0)), **changed)


def labels(*runs, key="static", **options):
  return [column.label for column in split(list(runs), key, **options)]


def test_equal_manifests_share_a_column():
  assert labels(run("a"), run("b")) == ["static"]
  assert explain([run("a"), run("b")], ["static"]) == []
  assert labels(run("a"), key="nothing") == []


def test_other_sampling_is_another_column_and_the_page_says_so():
  runs = [run("a"), run("b", sampling="uniform", data_hash="e"), run("c")]
  columns = split(runs, "static")
  assert [column.label for column in columns] == [
    "static, middle",
    "static, uniform",
  ]
  assert [[one.name for one in x.runs] for x in columns] == [["a", "c"], ["b"]]
  (sentence,) = explain(runs, ["static"])
  assert sentence.startswith("Results of static are not in one column")
  assert "(sampling middle: a, c; sampling uniform: b)" in sentence

  found = comparison(runs)
  first = [cell.text for cell in found.column("static, middle t2v R@1")]
  second = [cell.text for cell in found.column("static, uniform t2v R@1")]
  assert first == ["50.0", "-", "50.0"] and second == ["-", "50.0", "-"]
  assert "static t2v R@1" not in [head.text for head in found.heads]


@pytest.mark.parametrize(
  ("changed", "label"),
  [
    (dict(frames=8, data_hash="e"), "static, 8 frames"),
    (dict(size=128), "static, size 128"),
    (dict(resize="squash"), "static, resize squash"),
    (dict(views=3), "static, views 3"),
    (dict(evaluator=dict(name="retrieval", groups=8)), "static, groups 8"),
    (dict(clips_evaluated=99.0), "static, clips_evaluated 99.0"),
    (dict(data_hash="0123456789abcdef"), "static, data 01234567"),
    (dict(network=dict(hash="x")), "static, hash x"),
  ],
)
def test_what_splits(changed, label):
  assert labels(run("a"), run("b", **changed))[1] == label


@pytest.mark.parametrize(
  "changed",
  [
    dict(step=5),
    dict(device="a chip"),
    dict(commit="other"),
    dict(versions={"jax": "2"}),
    dict(dtype="bfloat16"),
    dict(protocol=None),
    dict(evaluator=dict(name="retrieval", budgets=[1, 2])),
    dict(data=MANIFEST["data"] | dict(cache_dir="/elsewhere")),
  ],
)
def test_what_does_not(changed):
  assert labels(run("a"), run("b", **changed)) == ["static"]


EXTRACTED = dict(
  tracks_are_ground_truth=False,
  data=MANIFEST["data"] | dict(tracks="extracted"),
  data_hash="e",
)


def test_the_kind_of_tracks_is_what_a_comparison_may_be_about():
  # The hash covers the tracks, so it differs; the clips are the same.
  assert labels(run("a"), run("b", **EXTRACTED)) == ["static"]
  # A third hash says that clips have changed in one of the two kinds.
  assert (
    len(labels(run("a"), run("b", **EXTRACTED), run("c", data_hash="f"))) > 1
  )
  # Another split of the data is none of tracks.
  other = EXTRACTED["data"] | dict(split="moving")
  assert len(labels(run("a"), run("b", **EXTRACTED | dict(data=other)))) == 2


def test_data_is_named_by_the_options_of_its_source():
  still = MANIFEST["data"] | dict(camera="still")
  found = labels(run("a"), run("b", data=still, data_hash="e"))
  assert found == ["static, camera by default", "static, camera still"]


def test_time_and_memory_depend_on_the_machine():
  numbers = dict(cost=cost(8, 1.0))
  runs = [make_run("a", numbers), make_run("b", numbers, device="gpu x 1")]
  assert labels(*runs, key="cost") == ["cost"]
  assert labels(*runs, key="cost", machine=True) == [
    "cost, cpu x 1",
    "cost, gpu x 1",
  ]
  (sentence,) = explain(runs, ["cost"], machine=True)
  assert sentence.startswith("Time and memory are not in one column")
  runs[1] = make_run("b", dict(cost=cost(8, 1.0) | dict(batch_size=4.0)))
  assert labels(*runs, key="cost", machine=True)[1] == "cost, batches of 4"


def test_evaluations_that_are_split_alike_share_a_sentence():
  two = dict(static=gallery(1.0), moving=gallery(1.0))
  runs = [make_run("a", two), make_run("b", two, views=2)]
  (sentence,) = explain(runs, ["static", "moving"])
  assert sentence.startswith("Results of static, moving are")
  assert "(views not told: a; views 2: b)" in sentence


def test_a_condition_is_spelled_shortly():
  assert spell("views", None) == "views not told"
  assert spell("evaluator.prompts", "a photo of a " * 9).endswith("…")


def test_differences_name_fields_values_and_runs():
  more = gallery(50.0)
  runs = [
    make_run("a", dict(static=more, moving=more)),
    make_run("b", dict(static=more, moving=more), sampling="uniform"),
    make_run("c", dict(static=more, moving=more), commit="d", sampling=None),
  ]
  entries = differences(runs)
  assert [entry.field for entry in entries] == ["sampling", "commit"]
  assert entries[0].apart and not entries[1].apart
  assert entries[0].keys == ("static", "moving")
  assert entries[0].values == (
    ("middle", ("a",)),
    ("uniform", ("b",)),
    ("not told", ("c",)),
  )
  assert as_rows(entries)[-1] == ["commit", "static, moving", "d", "c", "yes"]
  assert differences(runs[:1]) == []


def test_seeds_that_differ_in_more_are_named():
  alike = [run("a-seed0"), run("a-seed1"), run("b")]
  alike[1].config["seed"] = 1
  assert unlike_seeds(alike) == []
  alike[1].config["total_steps"] = 9
  (sentence,) = unlike_seeds(alike)
  assert sentence.startswith("Runs called a are") and "total_steps" in sentence
