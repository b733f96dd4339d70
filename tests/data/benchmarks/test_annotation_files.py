"""Lists of annotations and folders of videos, and what is wrong with them."""

import re

import pytest

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  number,
  read_json,
  read_lines,
  read_table,
  segment,
  strings,
)
from trajvit.data.benchmarks.video_folder import find_media, media_by_stem


def test_a_table_is_read_as_it_is_quoted(tmp_path):
  path = tmp_path / "list.csv"
  path.write_bytes(b'\xef\xbb\xbfid, text\r\n1,"a ""b"", c"\r\n\r\n2,d\r\n')
  assert read_table(path, ["text"]) == [
    (f"{path}, line 2", {"id": "1", "text": 'a "b", c'}),
    (f"{path}, line 4", {"id": "2", "text": "d"}),
  ]
  path.write_text('a\t"b\tc\n')
  options = {"header": False, "delimiter": "\t", "quoted": False}
  assert read_table(path, ["x", "y"], **options) == [
    (f"{path}, line 1", {"x": "a", "y": '"b'})
  ]


@pytest.mark.parametrize(
  ("content", "said"),
  [
    ("", "expected the columns id, text, got none"),
    ("id,words\n", "expected the columns id, text, got id, words"),
    ("id,text\n1\n", "line 2: expected the 2 fields id, text, got 1"),
    ("id,text\n1," + "x" * 200_000, "line 2: field larger than"),
  ],
)
def test_a_table_that_is_none(tmp_path, content, said):
  path = tmp_path / "list.csv"
  path.write_text(content)
  with pytest.raises(ValueError, match=re.escape(said)) as error:
    read_table(path, ["id", "text"])
  assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
  ("content", "said"),
  [
    (b"{", "expected JSON"),
    (b"\xff\xfe", "expected UTF-8 text"),
    (b"[" * 100_000, "expected JSON that nests less"),
    (b"[" + b"1" * 5000 + b"]", "expected JSON: Exceeds"),
    (b"{}", "expected the file to be a list, got {}"),
  ],
)
def test_json_that_is_none(tmp_path, content, said):
  path = tmp_path / "list.json"
  path.write_bytes(content)
  with pytest.raises(ValueError, match=re.escape(f"{path}: {said}")):
    read_json(path, list)


def test_a_file_that_cannot_be_read(tmp_path):
  with pytest.raises(ValueError, match="none.txt: expected this file"):
    read_lines(tmp_path / "none.txt")
  with pytest.raises(ValueError, match="cannot be read: Is a directory"):
    read_lines(tmp_path)


@pytest.mark.parametrize(
  ("check", "said"),
  [
    (lambda: field("f", [], "a", str), "expected the entry to be an object"),
    (lambda: field("f", {"b": 1}, "a", str), "expected the key 'a', got "),
    (
      lambda: field("f", {"a": 1}, "a", str),
      "expected 'a' to be a text, got 1",
    ),
    (lambda: field("f", {"a": True}, "a", int), "to be a number, got true"),
    (lambda: strings("f", "words", ["a", 2]), "expected words[1] to be a text"),
    (lambda: number("f", "fps", "fast"), 'expected fps to be a number, got "f'),
    (lambda: number("f", "fps", "nan"), "expected fps to be a number"),
    (lambda: number("f", "fps", 10**400), "expected fps to be a number"),
    (lambda: segment("f", [1, 2, 3]), "expected [start, end], got [1, 2, 3]"),
    (lambda: segment("f", [-1, 2]), "expected times from 0 up, got [-1, 2]"),
    (lambda: segment("f", [0, True]), "expected a time to be a number"),
  ],
)
def test_fields_are_checked(check, said):
  with pytest.raises(ValueError, match=re.escape(said)) as error:
    check()
  assert str(error.value).startswith("f: ")


@pytest.mark.parametrize(
  "name", ["", ".", "..", "../a", "a/../b", "/a", "a\0b", "\ud800"]
)
def test_names_stay_inside(tmp_path, name):
  with pytest.raises(ValueError, match="f: expected a name inside"):
    name_inside("f", name)
  with pytest.raises(ValueError, match="expected a name inside"):
    find_media({}, name, tmp_path)


@pytest.mark.parametrize("name", ["a", "..a", "a..b", "-a b/c.mp4", "\u00fc"])
def test_names_that_are_inside(name):
  assert name_inside("f", name) == name


def test_videos_are_found_by_stem(tmp_path):
  for name in ("b/x.MKV", "y.1.avi", ".z.mp4", "x.txt"):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
  found = media_by_stem(tmp_path)
  assert found == {"x": f"{tmp_path}/b/x.MKV", "y.1": f"{tmp_path}/y.1.avi"}
  assert find_media(found, "x", tmp_path) == found["x"]
  assert find_media(found, "z", tmp_path, ".avi") == f"{tmp_path}/z.avi"
  assert media_by_stem(tmp_path, {".txt"}) == {"x": f"{tmp_path}/x.txt"}


def test_two_videos_of_one_stem_are_an_error(tmp_path):
  (tmp_path / "a").mkdir()
  (tmp_path / "a" / "x.mp4").touch()
  (tmp_path / "x.webm").touch()
  with pytest.raises(
    ValueError, match="one file for 'x', got .*webm and .*mp4"
  ):
    media_by_stem(tmp_path)
  with pytest.raises(ValueError, match="no folder"):
    media_by_stem(tmp_path / "none")
