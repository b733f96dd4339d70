"""The files of a text tokenizer, kept beside the weights that know its words.

A spec names them by arguments that end in "_file", such as `vocabulary_file`. A
directory that keeps them has their plain names there in place of paths, so that
it can be moved.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

ENDING = "_file"


def file_arguments(text: Mapping) -> dict[str, str]:
  """Returns what a text tokenizer's spec names files by -> their paths."""
  return {
    key: value
    for key, value in text.items()
    if key.endswith(ENDING) and value is not None
  }


def keep_files(text: Mapping, directory: Path) -> dict:
  """Copies the files of a text tokenizer; returns its spec with plain names.

  Each is named by its argument and ends as it did: `vocabulary.txt`.

  Args:
    text: spec of the tokenizer, with paths.
    directory: where they go.

  Raises:
    FileNotFoundError: one of them is not there.
  """
  names = {}
  for key, path in file_arguments(text).items():
    if not Path(path).is_file():
      raise FileNotFoundError(
        f"{path} is not there: the {key} of text tokenizer {text['name']!r}"
      )
    names[key] = key.removesuffix(ENDING) + Path(path).suffix
    shutil.copyfile(path, directory / names[key])
  return {**text, **names}


def kept_file(directory: Path, name: str) -> Path:
  """Returns the file that is called so in a directory itself.

  Raises:
    ValueError: no plain name: nothing outside the directory is ever read.
    FileNotFoundError: there is no such file.
  """
  plain = isinstance(name, str) and name not in ("", ".", "..")
  if not plain or set(name) & set("/\\"):
    raise ValueError(
      f"{directory}: expected the name of a file in this directory, "
      f"got {name!r}"
    )
  if not (directory / name).is_file():
    raise FileNotFoundError(f"{directory} has no {name}")
  return directory / name


def packed_files(data: Mapping, directory: Path) -> dict:
  """Returns the data section of a packed run, with paths of what it keeps.

  Paths of files that lie elsewhere stay as they are.
  """
  text = data.get("text")
  if text is None:
    return dict(data)
  kept = {
    key: str(directory / path)
    for key, path in file_arguments(text).items()
    if (directory / path).is_file()
  }
  return {**data, "text": {**text, **kept}}


def find_files(text: Mapping, directory: Path) -> dict:
  """Returns a spec with paths in place of the names that `keep_files` gave.

  Raises:
    ValueError, FileNotFoundError: see `kept_file`.
  """
  names = file_arguments(text)
  paths = {key: str(kept_file(directory, x)) for key, x in names.items()}
  return {**text, **paths}
