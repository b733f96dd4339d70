"""Files of vocabularies: read whole, with a limit, as bytes and text only."""

import gzip
import io
import json
import os
import pathlib
import zlib

# Several times the largest vocabulary in use. A small gzip file can unpack to
# what fills any memory.
MAX_BYTES = 64 * 2**20


def read_bytes(path: str | os.PathLike) -> bytes:
  """Returns the content of a file, unpacked if it is gzip.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is larger than MAX_BYTES, packed or unpacked, or damaged.
  """
  with pathlib.Path(path).open("rb") as file:
    data = _limited(path, file)
  if not data.startswith(b"\x1f\x8b"):
    return data
  try:
    with gzip.open(io.BytesIO(data)) as file:
      return _limited(path, file)
  except (EOFError, gzip.BadGzipFile, zlib.error) as error:
    raise ValueError(f"{path}: expected a whole gzip file: {error}") from error


def read_lines(path: str | os.PathLike) -> list[str]:
  r"""Returns the lines of a UTF-8 file, gzip or not, without their ends.

  Lines end in \n or \r\n and in none of the other separators of Unicode, which
  a piece of a vocabulary may hold. Empty lines at the end do not count.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is too large, damaged, or not UTF-8.
  """
  return _text(path).replace("\r\n", "\n").rstrip("\n").split("\n")


def read_ids(path: str | os.PathLike) -> dict[str, int]:
  """Returns the pieces of a `vocab.json` and their ids, which are 0 to n - 1.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it is not one JSON object whose values are these numbers, each
      once, or a piece is there twice.
  """
  expected = f"{path}: expected a JSON object of pieces and their ids"

  def distinct(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
      raise ValueError("a piece is in the vocabulary twice")
    return found

  try:
    ids = json.loads(_text(path), object_pairs_hook=distinct)
  except RecursionError:
    raise ValueError(f"{expected}, got one that nests too deeply") from None
  except ValueError as error:
    raise ValueError(f"{expected}: {error}") from error
  if not isinstance(ids, dict):
    raise ValueError(f"{expected}, got a {type(ids).__name__}")
  numbers = [x for x in ids.values() if type(x) is int]  # True is no id
  if sorted(numbers) != list(range(len(ids))):
    raise ValueError(
      f"{path}: the ids of {len(ids)} pieces must be 0 to {len(ids) - 1}, each "
      "once"
    )
  return ids


def _text(path) -> str:
  try:
    return read_bytes(path).decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: expected UTF-8 text: {error}") from error


def _limited(path, file) -> bytes:
  data = file.read(MAX_BYTES + 1)
  if len(data) > MAX_BYTES:
    raise ValueError(f"{path}: a vocabulary must fit in {MAX_BYTES} bytes")
  return data
