"""Classification data sets, each from a tiny copy with the layout it has."""

import json
import os
import pathlib
import random
import re

import pytest
from classification_layouts import (
  BREAKFAST,
  COIN_TASKS,
  DIVING,
  HMDB,
  IMAGENET_DEVKIT,
  IMAGENET_KAGGLE,
  IMAGENET_TRAIN,
  LAYOUTS,
  LVU,
  SOMETHING,
  SOMETHING_TEST,
  UCF_TEST,
  UCF_TRAIN,
  kinetics,
)

from trajvit.data.benchmarks import BENCHMARKS
from trajvit.data.benchmarks.class_names import ranked, readable
from trajvit.data.benchmarks.layouts import first_there, media_if_there

NAMES = sorted({layout.name for layout in LAYOUTS})
K400 = kinetics("kinetics400")

layouts = pytest.mark.parametrize("layout", LAYOUTS, ids=str)


def listing(layout, root, **options):
  """Reads a copy, whose counts are not those of the release."""
  benchmark = BENCHMARKS[layout.name]()
  options.setdefault("counts", False)
  return benchmark.listing(str(root), layout.split, **options)


def clips(layout, root):
  return [
    (os.path.relpath(record.path, root), record.label)
    for record in listing(layout, root).records
  ]


def refused(layout, root, match):
  with pytest.raises(ValueError, match=match) as error:
    listing(layout, root)
  return str(error.value)


def replaced(root, path, old, new):
  """Changes an annotation, and returns how a message starts that names it."""
  text = (root / path).read_text(encoding="utf-8")
  assert old in text
  (root / path).write_text(text.replace(old, new, 1), encoding="utf-8")
  return re.escape(str(root / path))


@layouts
def test_every_clip_has_its_label(layout, tmp_path):
  layout.write(tmp_path)
  found = listing(layout, tmp_path)
  assert clips(layout, tmp_path) == list(layout.clips)
  assert found.classes == layout.classes
  assert {x.is_image for x in found.records} == {layout.name == "imagenet"}
  assert not any(x.captions or x.labels for x in found.records)


@layouts
def test_other_numbers_are_refused_and_the_right_ones_accepted(
  layout, tmp_path, monkeypatch
):
  layout.write(tmp_path)
  kind = BENCHMARKS[layout.name]
  if kind.splits[layout.split].expected:
    with pytest.raises(ValueError, match="expected .*, found"):
      listing(layout, tmp_path, counts=True)
  found = listing(layout, tmp_path).counts()
  same = {key: found[key] for key in kind.splits[layout.split].expected}
  split = type(kind.splits[layout.split])("As it is here.", same)
  monkeypatch.setattr(kind, "splits", {layout.split: split})
  assert listing(layout, tmp_path, counts=True).counts() == found


@layouts
def test_a_missing_list_is_named(layout, tmp_path):
  optional = ("test-answers.csv", "LOC_synset_mapping.txt")
  layout.write(tmp_path)
  for path in layout.files:
    if path.endswith(optional) or layout is HMDB:
      continue
    text = (tmp_path / path).read_text(encoding="utf-8")
    (tmp_path / path).unlink()
    assert os.path.basename(path) in refused(layout, tmp_path, "expected")
    (tmp_path / path).write_text(text, encoding="utf-8")


@layouts
def test_damaged_lists_are_errors_that_name_them(layout, tmp_path):
  """Random damage is a ValueError, or leaves clips that are inside the root."""
  layout.write(tmp_path)
  chance = random.Random(str(layout))
  outcomes = set()
  for path in layout.files:
    whole = (tmp_path / path).read_bytes()
    for _ in range(25):
      data = bytearray(whole)
      for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(data))
        data[place : place + chance.randint(0, 3)] = chance.choice(
          (b"", b"/", b"..", b'"', b",", b"9", b"\xff", b"\x00", b"\n", b"[")
        )
      (tmp_path / path).write_bytes(data)
      try:
        records = listing(layout, tmp_path).records
      except ValueError as error:
        outcomes.add("refused")
        assert str(tmp_path) in str(error)
      else:
        outcomes.add("read")
        for record in records:
          inside = os.path.relpath(os.path.normpath(record.path), tmp_path)
          assert not inside.startswith("..")
    (tmp_path / path).write_bytes(b"\xff\xfe\x00")
    if layout is not HMDB or "split1" in path:
      refused(layout, tmp_path, re.escape(str(tmp_path / path)))
    (tmp_path / path).write_bytes(whole)
  assert "refused" in outcomes or not layout.files


@pytest.mark.parametrize("name", NAMES)
def test_splits_say_what_they_are(name):
  kind = BENCHMARKS[name]
  summary = kind.__doc__.split("\n")[0]
  assert summary.endswith(".") and len(summary) < 80
  for split, described in kind.splits.items():
    assert described.protocol.endswith(".") and ". " not in described.protocol
    classes = described.expected.get("classes")
    unknown = name == "breakfast" or (name, split) == ("kinetics700", "test")
    assert bool(classes) != unknown


@pytest.mark.parametrize(
  "layout, path, old, new, message",
  [
    (K400, "annotations/val.csv", "label,", "class,", "expected the columns"),
    (K400, "annotations/val.csv", "84,", "soon,", "time_start to be a number"),
    (K400, "annotations/val.csv", "abcdefghijk", "../../x", "inside"),
    (K400, "annotations/val.csv", "tai chi,", ",", "expected a label"),
    (SOMETHING, "labels/labels.json", '"2"', '"3"', "labels 0 to 2"),
    (SOMETHING, "labels/validation.json", "Pushing", "Pulling", "3 templates"),
    (SOMETHING, "labels/validation.json", '"74225"', "74225", "to be a text"),
    (SOMETHING, "labels/validation.json", "74225", "../74225", "inside"),
    (SOMETHING_TEST, "labels/test-answers.csv", "Push", "Pull", "3 templates"),
    (SOMETHING_TEST, "labels/test.json", '"5"', '"6"', "an answer for 6"),
    (UCF_TRAIN, "ucfTrainTestlist/trainlist02.txt", " 3", " 2", "the number"),
    (UCF_TRAIN, "ucfTrainTestlist/trainlist02.txt", "YoYo/", "Yo/", "folder"),
    (UCF_TRAIN, "ucfTrainTestlist/classInd.txt", "2 ", "4 ", "expected 2 and"),
    (UCF_TEST, "ucfTrainTestlist/testlist01.txt", "Apply", "/Apply", "inside"),
    (
      HMDB,
      "testTrainMulti_7030_splits/brush_hair_test_split1.txt",
      *("1 ", "3 ", "0, 1 or 2"),
    ),
    (DIVING, "Diving48_V2_test.json", '"label": 2', '"label": 3', "below 3"),
    (DIVING, "Diving48_V2_test.json", '"label": 2', '"label": "2"', "a number"),
    (DIVING, "Diving48_vocab.json", '"TUCK"', "4", "to be a text"),
    (COIN_TASKS, "COIN.json", '"database"', '"data"', "the key 'database'"),
    (COIN_TASKS, "COIN.json", '"testing"', '"validation"', "the subset"),
    (COIN_TASKS, "COIN.json", '"aaaaaaaaaaa"', '"/etc/a"', "inside"),
    (LVU, "lvu_1.0/way_speaking/test.csv", "\n2 ", "\n5 ", "a label below 5"),
    (LVU, "lvu_1.0/way_speaking/test.csv", " 15", "", "one more field"),
    (LVU, "lvu_1.0/way_speaking/val.csv", " v ", " ../v ", "inside"),
    (IMAGENET_KAGGLE, "LOC_val_solution.csv", "n03126707", "crane", "WordNet"),
    (IMAGENET_KAGGLE, "LOC_val_solution.csv", "ILSVRC", "../ILSVRC", "inside"),
    (IMAGENET_KAGGLE, "LOC_synset_mapping.txt", "n014", "w014", "WordNet"),
    (
      IMAGENET_DEVKIT,
      "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt",
      *("3", "1001", "class of the devkit"),
    ),
  ],
)
def test_a_wrong_entry_is_named(layout, path, old, new, message, tmp_path):
  layout.write(tmp_path)
  start = replaced(tmp_path, path, old, new)
  refused(layout, tmp_path, f"^{start}.*{message}")


def test_kinetics_takes_spare_videos_and_a_test_list_without_labels(tmp_path):
  K400.write(tmp_path)
  spare = K400_SPARE / "abcdefghijk_000000_000010.mp4"
  (tmp_path / spare).parent.mkdir(parents=True)
  (tmp_path / spare).touch()
  assert clips(K400, tmp_path)[1] == (str(spare), 1)

  (tmp_path / "test").mkdir()
  (tmp_path / "test.csv").write_text(
    "youtube_id,time_start,time_end,split\nabcdefghijk,1,11,test\n"
  )
  found = BENCHMARKS["kinetics700"]().listing(str(tmp_path), "test")
  assert [x.label for x in found.records] == [-1] and found.classes == ()
  with pytest.raises(ValueError, match="expected 400 classes, found 0"):
    BENCHMARKS["kinetics400"]().listing(str(tmp_path), "test")


K400_SPARE = pathlib.PurePosixPath("replacement/replacement_for_corrupted_k400")


def test_a_clip_of_two_kinetics_classes_is_found_in_both(tmp_path):
  K400.write(tmp_path)
  old, new = "tai chi,abcdefghijk,3,13", "tai chi,---QuUC4vJs,84,94"
  replaced(tmp_path, "annotations/val.csv", old, new)
  stem = "---QuUC4vJs_000084_000094.mp4"
  (tmp_path / "val" / "tai chi").mkdir()
  (tmp_path / "val" / "tai chi" / stem).touch()
  assert clips(K400, tmp_path)[:2] == [
    (f"val/testifying/{stem}", 2),
    (f"val/tai chi/{stem}", 1),
  ]


def test_something_something_without_answers_has_no_test_labels(tmp_path):
  SOMETHING_TEST.write(tmp_path)
  (tmp_path / "labels" / "test-answers.csv").unlink()
  assert [label for _, label in clips(SOMETHING_TEST, tmp_path)] == [-1, -1]


def test_lists_of_the_first_something_something_are_read(tmp_path):
  SOMETHING.write(tmp_path)
  for name in ("labels", "validation"):
    (tmp_path / f"something-something-v2-{name}.json").write_text(
      (tmp_path / "labels" / f"{name}.json").read_text()
    )
    (tmp_path / "labels" / f"{name}.json").unlink()
  assert clips(SOMETHING, tmp_path) == list(SOMETHING.clips)


def test_hmdb_classes_may_lie_in_the_root(tmp_path):
  HMDB.write(tmp_path)
  for folder in (tmp_path / "hmdb51_org").iterdir():
    folder.rename(tmp_path / folder.name)
  (tmp_path / "hmdb51_org").rmdir()
  assert clips(HMDB, tmp_path) == [
    (path.removeprefix("hmdb51_org/"), label) for path, label in HMDB.clips
  ]


def test_diving_may_be_arranged_in_folders(tmp_path):
  DIVING.write(tmp_path)
  (tmp_path / "rgb").rename(tmp_path / "videos")
  (tmp_path / "annotations").mkdir()
  for path in DIVING.files:
    (tmp_path / path).rename(tmp_path / "annotations" / path)
  assert clips(DIVING, tmp_path) == [
    (path.replace("rgb", "videos"), label) for path, label in DIVING.clips
  ]


def test_coin_steps_are_parts_of_videos(tmp_path):
  COIN_TASKS.write(tmp_path)
  coin = BENCHMARKS["coin"]()
  steps = coin.listing(str(tmp_path), "test_steps", counts=False).records
  assert [(x.start, x.end) for x in steps] == [(1.0, 2.5), (5.0, 6.0)]
  videos = coin.listing(str(tmp_path), "train", counts=False).records
  assert [(x.start, x.end, x.label) for x in videos] == [(0.0, None, 1)]
  start = replaced(tmp_path, "COIN.json", "[60.0, 69.0]", "[60.0]")
  coin.listing(str(tmp_path), "test", counts=False)
  with pytest.raises(ValueError, match=f"^{start}.*start, end"):
    coin.listing(str(tmp_path), "train_steps", counts=False)


def test_breakfast_folds_share_no_person_and_leave_none_out(tmp_path):
  for person in range(3, 55):
    folder = tmp_path / "BreakfastII_15fps_qvga_sync" / f"P{person:02d}" / "cam"
    folder.mkdir(parents=True)
    (folder / f"P{person:02d}_tea.avi").touch()
  breakfast = BENCHMARKS["breakfast"]()

  def paths(split):
    return {x.path for x in breakfast.listing(str(tmp_path), split).records}

  tests = [paths(f"test_{n}") for n in (1, 2, 3, 4)]
  assert [len(test) for test in tests] == [13] * 4
  assert len(set.union(*tests)) == 52
  for n, test in enumerate(tests, 1):
    assert paths(f"train_{n}") == set.union(*tests) - test


def test_breakfast_needs_its_folder(tmp_path):
  refused(BREAKFAST, tmp_path, "no folder .*BreakfastII")
  (tmp_path / "BreakfastII_15fps_qvga_sync").mkdir()
  refused(BREAKFAST, tmp_path, "expected P03/")


def test_lvu_leaves_numbers_to_be_predicted_out():
  tasks = {split.rsplit("_", 1)[0] for split in BENCHMARKS["lvu"].splits}
  assert len(tasks) == 7 and not tasks & {"like_ratio", "view_count"}


def test_imagenet_without_names_calls_classes_by_their_ids(tmp_path):
  IMAGENET_TRAIN.write(tmp_path)
  (tmp_path / "LOC_synset_mapping.txt").unlink()
  found = listing(IMAGENET_TRAIN, tmp_path)
  assert found.classes == ("n01440764", "n01443537", "n03126707")
  (tmp_path / "train").rename(tmp_path / "images")
  (tmp_path / "train").mkdir()
  refused(IMAGENET_TRAIN, tmp_path, "folders named by WordNet ids")


@pytest.mark.parametrize(
  "damage", [b"", b"MATLAB 5.0 MAT-file", bytes(range(256)), None]
)
def test_a_damaged_devkit_is_named(damage, tmp_path):
  IMAGENET_DEVKIT.write(tmp_path)
  path = tmp_path / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2] if damage is None else damage)
  refused(IMAGENET_DEVKIT, tmp_path, re.escape(str(path)))


def test_all_classes_can_stand_in_a_prompt():
  assert readable("ReplaceCDDriveWithSSD") == "replace CD drive with SSD"
  assert readable("PlayFrisbeeWithADog") == "play frisbee with a dog"
  assert readable("MakeRJ45Cable") == "make RJ45 cable"
  assert readable("shoot_bow") == "shoot bow"
  assert readable("YoYo") == "yo yo"
  assert ranked(["b", "a", "b"]) == {"a": 0, "b": 1}


def test_places_are_tried_in_order(tmp_path):
  (tmp_path / "b").mkdir()
  assert first_there(tmp_path, "a", "b") == tmp_path / "b"
  (tmp_path / "a").touch()
  assert first_there(tmp_path, "a", "b") == tmp_path / "a"
  with pytest.raises(ValueError, match="expected c or d"):
    first_there(tmp_path, "c", "d")
  assert media_if_there(tmp_path / "none") == {}


def test_endless_json_is_refused(tmp_path):
  DIVING.write(tmp_path)
  (tmp_path / "Diving48_V2_test.json").write_text("[" * 100000)
  refused(DIVING, tmp_path, "Diving48_V2_test.json: expected JSON")
  (tmp_path / "Diving48_V2_test.json").write_text(
    json.dumps([{"vid_name": "x\0", "label": 0}])
  )
  refused(DIVING, tmp_path, "Diving48_V2_test.json, entry 1: .*inside")
