"""Files written whole or not at all, hashed, and JSON read with care."""

import contextlib
import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

_PIECE = 2**20  # bytes hashed at a time


def read_json(path: pathlib.Path) -> dict:
  """Returns the object that a JSON file holds.

  Raises:
    ValueError: there is no such file, or it holds no object.
  """
  try:
    values = json.loads(path.read_text(encoding="utf-8"))
  except OSError as error:
    raise ValueError(f"{path}: expected this file: {error.strerror}") from error
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: expected JSON: {error!s:.200}") from error
  expect(path, isinstance(values, dict), "an object")
  return values


def write_json(path: pathlib.Path, values: Any) -> None:
  """Writes a JSON file, whole or not at all; equal values give equal bytes."""
  text = json.dumps(values, indent=1, sort_keys=True)
  with replacing(path) as partial:
    partial.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields a new file that becomes `path` when the block ends well.

  By then it is on the disk, so that not even a power cut leaves half of it.
  """
  handle, name = tempfile.mkstemp(
    prefix=f".{path.name}.", suffix=".partial", dir=path.parent
  )
  os.close(handle)
  try:
    yield pathlib.Path(name)
    os.chmod(name, 0o644)  # mkstemp makes it readable by its owner only
    with open(name, "rb") as file:
      os.fsync(file.fileno())
    os.replace(name, path)
  except BaseException:
    with contextlib.suppress(FileNotFoundError):
      os.unlink(name)
    raise


def sha256(path: pathlib.Path) -> str:
  """Returns the hash of a file, in hexadecimal digits."""
  digest = hashlib.sha256()
  with open(path, "rb") as file:
    while piece := file.read(_PIECE):
      digest.update(piece)
  return digest.hexdigest()


def expect(path: Any, good: Any, what: str) -> None:
  """Raises ValueError, expecting `what` of `path`, unless it is good."""
  if not good:
    raise ValueError(f"{path}: expected {what}")
