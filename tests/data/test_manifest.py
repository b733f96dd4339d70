"""Manifests: every layout, and a message for every way to get one wrong."""

import json
import re

import pytest

from trajvit.data.manifest import Record, read_manifest


def _write(folder, name, content):
  path = folder / name
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return path


RECORDS = [
  {"video": "a b.mp4", "caption": "one", "source": "web"},
  {"image": "/abs/c.jpg", "caption": ["x", " ", "y"], "label": 3},
  {"video": "d.mp4", "mask": "m/d.npz", "graph": "/g/d.npz"},
]


def _expected(root):
  return [
    Record(f"{root}/a b.mp4", False, ("one",)),
    Record(f"{root}/abs/c.jpg", True, ("x", "y"), 3),
    Record(
      f"{root}/d.mp4", False, mask=f"{root}/m/d.npz", graph=f"{root}/g/d.npz"
    ),
  ]


@pytest.mark.parametrize("root", ["", "/data"])
def test_json_and_jsonl_say_the_same(tmp_path, root):
  """A path may be absolute, if it is inside of the root."""
  records = json.loads(
    json.dumps(RECORDS).replace('"/', f'"{root or tmp_path}/')
  )
  as_list = _write(tmp_path, "clips.json", records)
  lines = "\n\n".join(map(json.dumps, records)) + "\n"
  as_lines = _write(tmp_path, "clips.jsonl", lines)
  expected = _expected(root or tmp_path)
  assert read_manifest(as_list, root) == expected
  assert read_manifest(str(as_lines), root) == expected


def test_byte_order_mark_and_windows_lines(tmp_path):
  path = tmp_path / "clips.csv"
  path.write_bytes(b"\xef\xbb\xbfa.mp4 1\r\nb.mp4 2\r\n")
  assert [(r.path, r.label) for r in read_manifest(path, "/d")] == [
    ("/d/a.mp4", 1),
    ("/d/b.mp4", 2),
  ]


def test_named_labels_are_ranked(tmp_path):
  names = ["run", "Jump", "run", "eat"]
  records = [{"video": "v", "label": name} for name in names]
  records.append({"video": "v"})
  path = _write(tmp_path, "clips.json", records)
  assert [r.label for r in read_manifest(path)] == [2, 0, 2, 1, -1]


@pytest.mark.parametrize("name", ["train.csv", "train.txt"])
def test_path_and_label_lines(tmp_path, name):
  path = _write(tmp_path, name, "/x/my clip.mp4 4\n\ny.PNG\t-1\n")
  assert read_manifest(path, root="/") == [
    Record("/x/my clip.mp4", False, label=4),
    Record("/y.PNG", True, label=-1),
  ]


@pytest.mark.parametrize(
  "name",
  ["/etc/passwd", "../a.mp4", "a/../../b.mp4", "..", "a\0.mp4", "\ud800.mp4"],
)
def test_paths_that_lead_out_of_the_root_are_refused(tmp_path, name):
  for row in (
    {"video": name},
    {"video": "a.mp4", "mask": name},
    {"image": "a.png", "graph": name},
  ):
    path = _write(tmp_path, "clips.json", [row])
    with pytest.raises(ValueError, match="clips.json, record 1: expected"):
      read_manifest(path)
  if name.isprintable():
    path = _write(tmp_path, "clips.csv", f"{name} 1\n")
    with pytest.raises(ValueError, match=f"inside of {tmp_path}, got '"):
      read_manifest(path)


def test_paths_are_without_detours(tmp_path, monkeypatch):
  path = _write(tmp_path, "clips.csv", "./a/../b//c.mp4 1\n")
  assert read_manifest(path)[0].path == f"{tmp_path}/b/c.mp4"
  monkeypatch.chdir(tmp_path)
  assert read_manifest("clips.csv")[0].path == "b/c.mp4"
  assert read_manifest("clips.csv", root="..")[0].path == "../b/c.mp4"
  # A folder of almost the same name is another one.
  path = _write(tmp_path, "clips.csv", f"{tmp_path}2/a.mp4 1\n")
  with pytest.raises(ValueError, match="root / for any place"):
    read_manifest(path)


def test_class_folders(tmp_path):
  for name in ["b-c_d/2.mp4", "b-c_d/sub/1.jpg", "a/x.AVI", "a/x_mask.npz"]:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).touch()
  for name in [".hidden", "empty", "a/notes.mp4"]:
    (tmp_path / name).mkdir()
  b, caption = tmp_path / "b-c_d", ("b c d",)
  assert read_manifest(tmp_path) == [
    Record(f"{tmp_path}/a/x.AVI", False, ("a",), 0),
    Record(f"{b}/2.mp4", False, caption, 1),
    Record(f"{b}/sub/1.jpg", True, caption, 1),
  ]
  (tmp_path / "loose.mp4").touch()
  with pytest.raises(ValueError, match="got both: 3 folders beside loose.mp4"):
    read_manifest(tmp_path)


def test_flat_folder(tmp_path):
  for name in ["b.mp4", "a.mkv", "readme.md", ".c.mp4"]:
    (tmp_path / name).touch()
  assert read_manifest(tmp_path) == [
    Record(f"{tmp_path}/a.mkv", False),
    Record(f"{tmp_path}/b.mp4", False),
  ]


GOOD = {"video": "a.mp4"}


@pytest.mark.parametrize(
  ("name", "content", "message"),
  [
    ("c.json", [], "c.json: expected at least one record, found none"),
    ("c.csv", " \n\n", "c.csv: expected at least one record, found none"),
    ("c.json", {"video": "a"}, 'c.json: expected a list, got {"video": "a"}'),
    ("c.json", "[{]", "c.json: expected JSON: "),
    ("c.yaml", "", "c.yaml: expected a .json, .jsonl, .csv or .txt manifest"),
    ("c.json", [GOOD, 7], "c.json, record 2: expected an object, got 7"),
    (
      "c.json",
      [GOOD, {"path": "b"}],
      'record 2: expected one of the keys "video" and "image", got the keys '
      "['path']",
    ),
    ("c.json", [{**GOOD, "image": "b"}], "record 1: expected one of the keys"),
    (
      "c.json",
      [{"video": ""}],
      'record 1: expected video to be a path, got ""',
    ),
    ("c.json", [{"video": None}], "expected video to be a path, got null"),
    ("c.json", [{**GOOD, "mask": 3}], "expected mask to be a path, got 3"),
    (
      "c.json",
      [{**GOOD, "caption": ["a", 1]}],
      "record 1: expected caption to be a string or a list of strings, got [",
    ),
    ("c.json", [{**GOOD, "caption": None}], "a list of strings, got null"),
    ("c.json", [{**GOOD, "label": 1.5}], "to be a number or a name, got 1.5"),
    ("c.json", [{**GOOD, "label": True}], "to be a number or a name, got true"),
    ("c.json", [{**GOOD, "label": -2}], "up to 2147483647, got -2"),
    ("c.csv", f"a.mp4 {2**31}", "a label from -1 up to 2147483647, got 21"),
    ("c.json", [{**GOOD, "labels": [2**31]}], "a list of numbers from 0 up"),
    (
      "c.json",
      [{**GOOD, "caption": "\ud83d"}],
      "expected a caption in Unicode",
    ),
    ("c.json", "[" * 10**5, "c.json: expected JSON: maximum recursion"),
    ("c.jsonl", '{"label": ' + "9" * 5000 + "}", "line 1: expected JSON"),
    ("c.json", [{**GOOD, "end": 10**300}], "expected start and end in seconds"),
    (
      "c.json",
      [{**GOOD, "label": 1}, GOOD, {**GOOD, "label": "run"}],
      'record 3: expected labels to be all numbers or all names, got "run" '
      "after 1",
    ),
    (
      "c.jsonl",
      '{"video": "a"}\n\n{"video": \n',
      "c.jsonl, line 3: expected JSON: ",
    ),
    ("c.csv", "a.mp4 1\nb.mp4\n", 'line 2: expected "path label" with a'),
    ("c.csv", "a.mp4 run", "as label, got 'a.mp4 run'"),
    ("c.csv", "a.mp4,1", "as label, got 'a.mp4,1'"),
    ("c.txt", "a.mp4 -3", "c.txt, line 1: expected a label from -1 up to "),
  ],
)
def test_malformed(tmp_path, name, content, message):
  path = _write(tmp_path, name, content)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    read_manifest(path)
  assert str(error.value).startswith(str(path))


def test_not_text(tmp_path):
  path = tmp_path / "clips.csv"
  path.write_bytes(b"\xff\xfe\x00")
  with pytest.raises(ValueError, match="clips.csv: expected UTF-8 text"):
    read_manifest(path)


def test_folder_without_videos(tmp_path):
  (tmp_path / "class").mkdir()
  with pytest.raises(ValueError, match="found none"):
    read_manifest(tmp_path)


def test_missing_manifest(tmp_path):
  with pytest.raises(FileNotFoundError):
    read_manifest(tmp_path / "none.json")


def test_keys_nobody_reads_are_said_once(tmp_path, caplog):
  records = [{**GOOD, "captions": "x"}, {**GOOD, "captions": "y", "id": 4}]
  read_manifest(_write(tmp_path, "clips.json", records))
  messages = [record.getMessage() for record in caplog.records]
  assert len(messages) == 1 and "['captions', 'id']" in messages[0]


def test_a_clip_may_be_a_part_of_its_video(tmp_path):
  path = tmp_path / "clips.json"
  rows = [
    {"video": "a.mp4", "start": 1, "end": 2.5, "labels": [4, 1, 4]},
    {"video": "a.mp4"},
  ]
  path.write_text(json.dumps(rows))
  part, whole = read_manifest(path)
  assert (part.start, part.end, part.labels) == (1.0, 2.5, (1, 4))
  assert (whole.start, whole.end, whole.labels) == (0.0, None, ())


@pytest.mark.parametrize(
  "wrong",
  [
    {"video": "a.mp4", "start": 2, "end": 2},
    {"video": "a.mp4", "start": -1},
    {"video": "a.mp4", "end": "3"},
    {"video": "a.mp4", "start": True},
    {"image": "a.png", "start": 0},
    {"video": "a.mp4", "labels": [-1]},
    {"video": "a.mp4", "labels": ["dog"]},
  ],
)
def test_a_part_or_labels_that_cannot_be_are_refused(tmp_path, wrong):
  path = tmp_path / "clips.json"
  path.write_text(json.dumps([wrong]))
  with pytest.raises(ValueError, match="clips.json, record 1: expected"):
    read_manifest(path)
