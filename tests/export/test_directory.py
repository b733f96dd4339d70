"""A directory is there in whole or not at all."""

import pytest

from trajvit.export.directory import new_directory


def make(path, content, **options):
  with new_directory(path, marker="mark", **options) as directory:
    (directory / "mark").write_text(content)


def test_it_appears_at_the_end(tmp_path):
  path = tmp_path / "a" / "b"
  with new_directory(path, marker="mark") as directory:
    (directory / "file").write_text("content")
    assert not path.exists()
  assert (path / "file").read_text() == "content"
  assert [x.name for x in path.parent.iterdir()] == ["b"]


def test_a_failure_leaves_nothing_new_and_keeps_the_old(tmp_path):
  path = tmp_path / "out"
  for old in (None, "old"):
    if old:
      make(path, old)
    with (
      pytest.raises(RuntimeError),
      new_directory(path, overwrite=True, marker="mark") as directory,
    ):
      (directory / "mark").write_text("half")
      raise RuntimeError
    assert [x.name for x in tmp_path.iterdir()] == (["out"] if old else [])
  assert (path / "mark").read_text() == "old"


def test_the_old_comes_back_if_the_new_cannot_take_its_place(tmp_path):
  path = tmp_path / "out"
  make(path, "old")
  with (
    pytest.raises(FileNotFoundError),
    new_directory(path, overwrite=True, marker="mark") as directory,
  ):
    directory.rmdir()
  assert (path / "mark").read_text() == "old"
  assert [x.name for x in tmp_path.iterdir()] == ["out"]


def test_what_is_there_stays_unless_told(tmp_path):
  path = tmp_path / "out"
  make(path, "old")
  with pytest.raises(ValueError, match="out exists; --overwrite replaces it"):
    make(path, "new")
  assert (path / "mark").read_text() == "old"
  make(path, "new", overwrite=True)
  assert (path / "mark").read_text() == "new"
  assert [x.name for x in tmp_path.iterdir()] == ["out"]


def test_what_nobody_here_wrote_is_never_replaced(tmp_path):
  home = tmp_path / "home"
  home.mkdir()
  (home / "thesis.tex").write_text("years of work")
  with pytest.raises(ValueError, match="it has no mark"):
    make(home, "new", overwrite=True)
  assert (home / "thesis.tex").read_text() == "years of work"
