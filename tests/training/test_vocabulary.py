"""Files of a text tokenizer beside the weights: by plain names, no others."""

import pytest

from trajvit.training.vocabulary import (
  file_arguments,
  find_files,
  keep_files,
  kept_file,
  packed_files,
)


@pytest.fixture(name="text")
def _text(tmp_path):
  """The spec of a tokenizer with two files that are called alike."""
  for folder in "ab":
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "config.json").write_text(folder)
  return dict(
    name="byte_pair",
    length=9,
    merges_file=str(tmp_path / "a" / "config.json"),
    vocabulary_file=str(tmp_path / "b" / "config.json"),
    special_file=None,
  )


@pytest.fixture(name="kept")
def _kept(text, tmp_path):
  kept = tmp_path / "kept"
  kept.mkdir()
  return kept, keep_files(text, kept)


def test_files_are_called_by_their_arguments(text, kept):
  kept, spec = kept
  names = {"merges_file": "merges.json", "vocabulary_file": "vocabulary.json"}
  assert file_arguments(spec) == names
  assert spec == text | names
  assert (kept / "merges.json").read_text() == "a"
  assert (kept / "vocabulary.json").read_text() == "b"


def test_names_are_paths_again_wherever_the_directory_is(text, kept):
  kept, spec = kept
  moved = kept.rename(kept.with_name("moved"))
  found = find_files(spec, moved)
  assert found["merges_file"] == str(moved / "merges.json")
  assert found == packed_files({"text": spec}, moved)["text"]
  # Runs that were packed before say where their files lie.
  assert packed_files({"text": text}, moved)["text"] == text
  assert packed_files({"batch_size": 1}, moved) == {"batch_size": 1}


def test_what_is_not_there_is_named(tmp_path, text):
  missing = text | {"merges_file": str(tmp_path / "merges.txt")}
  with pytest.raises(
    FileNotFoundError, match=r"merges.txt is not there: the m"
  ):
    keep_files(missing, tmp_path)
  with pytest.raises(FileNotFoundError, match="has no a.txt"):
    kept_file(tmp_path, "a.txt")


@pytest.mark.parametrize("name", ["", ".", "..", "a/config.json", "a\\b", 1])
def test_only_plain_names_are_files_of_a_directory(tmp_path, text, name):
  with pytest.raises(ValueError, match="expected the name of a file in this"):
    kept_file(tmp_path, name)
