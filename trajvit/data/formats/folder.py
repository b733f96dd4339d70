"""A folder of shards: its index, its files, and whether they are whole.

`index.json` is written last, so that a folder that has one is complete:

  format     "trajvit clips"
  version    1
  container  "array_record" or "tar"
  options    how the clips were packed
  manifest   the SHA-256 of the records that were packed
  records    how many clips there are
  captioned  how many of them have captions
  shards     [{"file", "records", "captioned", "bytes", "sha256"}], in order
  skipped    [{"record", "name", "reason"}]: clips that could not be read
"""

import dataclasses
import os
import pathlib
import re
from typing import Any

from trajvit.data.whole_files import (
  expect,
  read_json,
  write_json,
)

INDEX = "index.json"
FORMAT = "trajvit clips"
VERSION = 1
CONTAINERS = ("array_record", "tar")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


@dataclasses.dataclass(frozen=True)
class Shard:
  """One file of clips.

  Attributes:
    file: its name, without any folder.
    records: how many clips are in it.
    captioned: how many of them have captions.
    bytes: its size.
    sha256: its hash, in hexadecimal digits.
  """

  file: str
  records: int
  captioned: int
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True)
class Index:
  """What `index.json` says.

  Attributes:
    container: "array_record" or "tar".
    options: how the clips were packed.
    manifest: the hash of the records that were packed.
    shards: in order.
    skipped: {"record", "name", "reason"} of clips that could not be read.
  """

  container: str
  options: dict[str, Any]
  manifest: str
  shards: tuple[Shard, ...]
  skipped: tuple[dict, ...]

  @property
  def records(self) -> int:
    """How many clips there are."""
    return sum(shard.records for shard in self.shards)

  @property
  def captioned(self) -> int:
    """How many clips have captions."""
    return sum(shard.captioned for shard in self.shards)


def write_index(folder: pathlib.Path, index: Index) -> None:
  """Writes `index.json`, whole or not at all."""
  values = {
    "format": FORMAT,
    "version": VERSION,
    **dataclasses.asdict(index),
    "records": index.records,
    "captioned": index.captioned,
  }
  write_json(folder / INDEX, values)


def read_index(folder: pathlib.Path) -> Index:
  """Returns what `index.json` says.

  Raises:
    ValueError: there is none, or it is not what it should be.
  """
  path = folder / INDEX
  values = read_json(path)
  expect(path, values.get("format") == FORMAT, f"the format {FORMAT!r}")
  version = values.get("version")
  known = type(version) is int and version == VERSION
  expect(path, known, f"version {VERSION}, got {version!r:.60}")
  container = values.get("container")
  expect(path, container in CONTAINERS, f"container of {CONTAINERS}")
  shards = values.get("shards")
  expect(path, isinstance(shards, list) and shards, "a list of shards")
  index = Index(
    container=container,
    options=_dict(path, values, "options"),
    manifest=_text(path, values, "manifest"),
    shards=tuple(read_shard(path, shard) for shard in shards),
    skipped=_skipped(path, values.get("skipped")),
  )
  names = {shard.file for shard in index.shards}
  expect(path, len(names) == len(shards), "every shard once")
  for key in ("records", "captioned"):
    total = getattr(index, key)
    expect(path, values.get(key) == total, f"{key} to be {total}, their sum")
  return index


def read_shard(path: pathlib.Path, values: Any) -> Shard:
  """Returns an entry of a list of shards.

  Raises:
    ValueError: it is none; the message begins with `path`.
  """
  expect(path, isinstance(values, dict), "an object a shard")
  file = _text(path, values, "file")
  # A name that is a path could lead anywhere.
  expect(path, _NAME.fullmatch(file), f"a plain file name, got {file!r:.60}")
  sha256 = _text(path, values, "sha256")
  expect(path, re.fullmatch("[0-9a-f]{64}", sha256), f"a SHA-256 of {file}")
  counts = {}
  for key in ("records", "captioned", "bytes"):
    value = values.get(key)
    whole = type(value) is int and 0 <= value < 2**63
    expect(path, whole, f"{key} of {file} to be a number from 0 up")
    counts[key] = value
  few = counts["captioned"] <= counts["records"]
  expect(path, few, f"no more captioned clips than clips in {file}")
  return Shard(file=file, sha256=sha256, **counts)


def check_files(folder: pathlib.Path, shards: tuple[Shard, ...]) -> None:
  """Checks that all shards are there and as long as they should be.

  Raises:
    ValueError: one is not.
  """
  for shard in shards:
    problem = wrong_size(folder, shard)
    if problem:
      raise ValueError(problem)


def wrong_size(folder: pathlib.Path, shard: Shard) -> str | None:
  """Returns how a shard is missing or not as long as it should be, or None."""
  path = folder / shard.file
  try:
    size = os.stat(path).st_size
  except OSError as error:
    return f"{path}: expected this shard: {error.strerror}"
  if size != shard.bytes:
    return f"{path}: expected {shard.bytes} bytes, got {size}"
  return None


def _text(path, values, key) -> str:
  value = values.get(key)
  expect(path, isinstance(value, str) and value, f"{key} to be a text")
  return value


def _dict(path, values, key) -> dict:
  value = values.get(key)
  expect(path, isinstance(value, dict), f"{key} to be an object")
  return value


def _skipped(path, values) -> tuple[dict, ...]:
  expect(path, isinstance(values, list), "skipped to be a list")
  for value in values:
    expect(path, isinstance(value, dict), "an object a skipped clip")
    _text(path, value, "name")
    _text(path, value, "reason")
  return tuple(values)
