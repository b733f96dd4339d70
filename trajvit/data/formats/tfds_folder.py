"""What a folder that TFDS has built holds, read without TFDS's features.

Two files tell it: `dataset_info.json` of the splits and their shards, and
`features.json` of what an example is. Both are JSON, so nothing here needs
TensorFlow, which some features of TFDS do, that of videos among them.
"""

import dataclasses
import pathlib
import re
from typing import Any

from trajvit.data.whole_files import expect, read_json

# The last word of a feature's class -> what it is here.
_KINDS = {
  "ClassLabel": "label",
  "Image": "image",
  "Text": "text",
  "Video": "images",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_MAX_DEPTH = 32
_TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


@dataclasses.dataclass(frozen=True)
class Feature:
  """One leaf of what an example is.

  Attributes:
    kind: "text", "label", "image" (its file), "images" (files of the frames of
      a video), "bytes" (any file), "frames" ([n, H, W, 3] uint8), or "other".
    repeated: whether there may be several.
    shape: of "frames", -1 where it differs between examples.
  """

  kind: str
  repeated: bool
  shape: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class TfdsSplit:
  """The shards of a split.

  Attributes:
    name: of the data set, with its version.
    files: the names of the shards.
    lengths: how many examples are in each.
    size: of all of them, in bytes, as far as it is told.
  """

  name: str
  files: tuple[str, ...]
  lengths: tuple[int, ...]
  size: str


def read_split(folder: pathlib.Path, split: str) -> TfdsSplit:
  """Returns the shards of a split.

  Raises:
    ValueError: no such folder or split, or the shards are not ArrayRecord.
  """
  path = folder / "dataset_info.json"
  info = read_json(path)
  kind = info.get("fileFormat")
  expect(path, kind == "array_record", f"array_record shards, got {kind!r:.60}")
  splits = info.get("splits")
  expect(path, isinstance(splits, list), "a list of splits")
  expect(path, all(isinstance(x, dict) for x in splits), "an object a split")
  known = {x.get("name"): x for x in splits if isinstance(x.get("name"), str)}
  names = ", ".join(sorted(known))
  expect(path, split in known, f"one of the splits {names}, got {split!r:.60}")
  found = known[split]
  lengths = found.get("shardLengths")
  expect(path, isinstance(lengths, list) and lengths, "shardLengths")
  numbers = [str(x) for x in lengths]
  whole = all(x.isascii() and x.isdigit() and len(x) < 16 for x in numbers)
  expect(path, whole, "shardLengths to be numbers from 0 up")
  template = found.get("filepathTemplate", _TEMPLATE)
  expect(path, isinstance(template, str), "filepathTemplate to be a text")
  name = info.get("name")
  expect(path, isinstance(name, str), "name to be a text")
  return TfdsSplit(
    name=f"{name} {info.get('version')!s:.60}",
    files=tuple(
      _file(path, template, name, split, i, len(lengths))
      for i in range(len(lengths))
    ),
    lengths=tuple(map(int, numbers)),
    size=f"{found.get('numBytes')!s:.60}",
  )


def _file(path, template, name, split, number, count) -> str:
  """The name of a shard, by the template of its split."""
  file = template
  for key, value in (
    ("DATASET", name),
    ("SPLIT", split),
    ("FILEFORMAT", "array_record"),
    ("SHARD_X_OF_Y", f"{number:05d}-of-{count:05d}"),
    ("SHARD_INDEX", f"{number:05d}"),
    ("NUM_SHARDS", f"{count:05d}"),
  ):
    file = file.replace(f"{{{key}}}", value)
  # A name that is a path could lead anywhere.
  expect(path, _NAME.fullmatch(file), f"a plain file name, got {file!r:.60}")
  return file


def read_features(folder: pathlib.Path) -> dict[str, Feature]:
  """Returns what an example is, leaf by leaf; "a/b" is b of a.

  Raises:
    ValueError: `features.json` is missing or not what it should be.
  """
  path = folder / "features.json"
  leaves = {}
  _walk(path, read_json(path), "", False, leaves, 0)
  return leaves


def _walk(path, node: Any, name, repeated, leaves, depth) -> None:
  """Adds the leaves of a feature to `leaves`."""
  expect(path, depth < _MAX_DEPTH, f"features nested at most {_MAX_DEPTH} deep")
  expect(path, isinstance(node, dict), f"an object, got {node!r:.60}")
  if "featuresDict" in node:
    inner = _inside(path, node, "featuresDict", "features")
    for key in sorted(inner):
      full = f"{name}/{key}" if name else key
      _walk(path, inner[key], full, repeated, leaves, depth + 1)
  elif "sequence" in node:
    inner = _inside(path, node, "sequence", "feature")
    _walk(path, inner, name, True, leaves, depth + 1)
  else:
    leaves[name] = _leaf(path, node, repeated)


def _leaf(path, node, repeated) -> Feature:
  kind = str(node.get("pythonClassName")).rpartition(".")[2]
  if kind != "Tensor":
    kind = _KINDS.get(kind, "other")
    if kind == "image" and repeated:
      kind = "images"
    return Feature(kind, repeated)
  tensor = node.get("tensor")
  expect(path, isinstance(tensor, dict), "a tensor to be an object")
  shape = tensor.get("shape")
  dimensions = shape.get("dimensions", []) if isinstance(shape, dict) else None
  good = isinstance(dimensions, list) and all(
    re.fullmatch(r"-1|\d{1,9}", str(x), re.ASCII) for x in dimensions
  )
  expect(path, good, "a shape to be a list of numbers")
  shape = tuple(map(int, dimensions))
  if tensor.get("encoding", "none") != "none" or repeated:
    return Feature("other", repeated)
  if tensor.get("dtype") == "string" and not shape:
    return Feature("bytes", repeated)
  frames = len(shape) == 4 and shape[3] == 3 and shape[1:].count(-1) == 0
  if tensor.get("dtype") == "uint8" and frames:
    return Feature("frames", repeated, shape)
  return Feature("other", repeated)


def _inside(path, node, outer, inner) -> Any:
  found = node[outer]
  good = isinstance(found, dict) and isinstance(found.get(inner), dict)
  expect(path, good, f"{outer} to hold {inner}")
  return found[inner]
