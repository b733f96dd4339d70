"""What holds of all captioned data sets, from tiny copies of their files."""

import copy
import json
import pathlib

import pytest
from benchmark_layouts import LAYOUTS, annotation_files, listing

from trajvit.data.benchmarks import BENCHMARKS
from trajvit.data.benchmarks.benchmark import Split

# What the copies hold: (clips, files, captions, classes) by split.
HELD = {
  "activitynet_captions": {
    "train": (1, 1, 1, 0),
    "val_1": (2, 2, 2, 0),
    "val_2": (2, 2, 2, 0),
    "train_segments": (1, 1, 1, 0),
    "val_1_segments": (3, 2, 3, 0),
    "val_2_segments": (3, 2, 3, 0),
  },
  "charades": {"train": (2, 2, 3, 3), "test": (1, 1, 1, 3)},
  "coco_captions": {
    "karpathy_train": (2, 2, 2, 0),
    "karpathy_val": (1, 1, 1, 0),
    "karpathy_test": (1, 1, 2, 0),
    "train2017": (2, 2, 4, 0),
    "val2017": (1, 1, 2, 0),
  },
  "didemo": {
    "train": (1, 1, 1, 0),
    "validation": (1, 1, 1, 0),
    "test": (2, 2, 2, 0),
  },
  "flickr30k": {
    "train": (1, 1, 1, 0),
    "val": (1, 1, 1, 0),
    "test": (1, 1, 2, 0),
  },
  "lsmdc": {
    "train": (2, 2, 3, 0),
    "validation": (1, 1, 1, 0),
    "test": (1, 1, 1, 0),
  },
  "msrvtt": {
    "test_1k_a": (2, 2, 2, 0),
    "test_full": (2, 2, 4, 0),
    "train_9k": (2, 2, 4, 0),
    "train_7k": (1, 1, 2, 0),
  },
  "msvd": {
    "train": (1, 1, 1, 0),
    "validation": (1, 1, 1, 0),
    "test": (2, 2, 3, 0),
  },
  "vatex": {
    "train": (1, 1, 2, 0),
    "validation": (1, 1, 2, 0),
    "public_test": (2, 2, 4, 0),
  },
  "youcook2": {"train": (1, 1, 1, 0), "validation": (2, 1, 2, 0)},
}
KEYS = ("clips", "files", "captions", "classes")


@pytest.fixture(params=sorted(LAYOUTS))
def name(request):
  return request.param


@pytest.fixture
def root(name, tmp_path):
  LAYOUTS[name][0](tmp_path)
  return tmp_path


def message(name, root):
  """What the first split that cannot be read says, or None if all can."""
  for split in BENCHMARKS[name].splits:
    try:
      listing(name, root, split)
    except ValueError as error:
      return str(error)
  return None


def test_every_split_is_read(name, root):
  assert HELD[name].keys() == BENCHMARKS[name].splits.keys()
  missing = 0
  for split, held in HELD[name].items():
    found = listing(name, root, split)
    assert found.counts() == dict(zip(KEYS, held, strict=True)), split
    for record in found.records:
      path = pathlib.Path(record.path)
      assert path.is_relative_to(root) and ".." not in path.parts
      missing += not path.is_file()
  assert missing  # a clip is listed whether its file is there or not


def test_counts_are_held_to(name, root, monkeypatch):
  benchmark = BENCHMARKS[name]
  for split, (protocol, expected) in {
    key: (value.protocol, value.expected)
    for key, value in benchmark.splits.items()
  }.items():
    assert protocol.endswith(".") and set(expected) <= set(KEYS)
    held = dict(zip(KEYS, HELD[name][split], strict=True))
    if expected:
      with pytest.raises(ValueError, match=f"{split}: expected [0-9]+ clips"):
        benchmark().listing(str(root), split)
    true = Split(protocol, {key: held[key] for key in expected})
    monkeypatch.setattr(benchmark, "splits", {split: true})
    benchmark().listing(str(root), split)
    monkeypatch.undo()


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_list_that_is_missing_or_malformed_is_named(name, root, content):
  for path in annotation_files(root):
    if content in ("[]", "{}") and path.suffix != ".json":
      continue
    kept = path.read_text()
    if content is None:
      path.unlink()
    else:
      path.write_text(content)
    said = message(name, root)
    if said is None:  # of the right kind, and empty: it lists nothing
      assert content == {"[": "[]", "{": "{}"}[kept[0]]
    else:
      assert path.name in said
    path.write_text(kept)


def places(value, path=()):
  """The paths of all that is in a JSON value, itself included."""
  yield path
  if isinstance(value, dict | list):
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
      yield from places(value[key], (*path, key))


def test_nothing_but_a_value_error_comes_of_wrong_json(name, root):
  refused = 0
  for path in annotation_files(root):
    if path.suffix != ".json":
      continue
    kept = path.read_text()
    for place in places(json.loads(kept)):
      for wrong in (None, True, -1e999, [[]], {"": {}}, "\0"):
        holder = whole = {"": copy.deepcopy(json.loads(kept))}
        for key in ("", *place)[:-1]:
          holder = holder[key]
        holder[("", *place)[-1]] = wrong
        path.write_text(json.dumps(whole[""]))
        said = message(name, root)
        refused += said is not None
        assert said is None or str(path) in said
    path.write_text(kept)
  assert refused or name in ("charades", "lsmdc", "msvd")


@pytest.mark.parametrize("before", ["../", "/", "a/../../"])
def test_no_clip_is_looked_for_outside(name, root, before):
  clip = LAYOUTS[name][1]
  for path in annotation_files(root):
    path.write_text(path.read_text().replace(clip, before + clip))
  said = message(name, root)
  assert "expected a name inside of its folder" in said
  assert any(str(path) in said for path in annotation_files(root))


def test_the_page_tells_of_every_split(name):
  page = pathlib.Path(__file__).parents[3] / "docs" / "benchmark_data.md"
  text = page.read_text()
  _, _, rows = text.partition(f"| `{name}` | ")
  rows, tree = rows.split("\n| `")[0].split("\n\n")[0], f"### {name}\n"
  assert tree in text
  for split, value in BENCHMARKS[name].splits.items():
    assert f"`{split}`" in rows
    number = value.expected.get("clips")
    assert (f"{number:,}" if number else "not held to a number") in rows
