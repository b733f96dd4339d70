"""Manifests: the lists of video and image files that people already have.

Four layouts are read as they are:

  clips.json     a list of {"video": path, "caption": str or [str]}, or with
                 "image" in place of "video"; "mask", "graph", "label",
                 "labels", "start" and "end" are optional (the layout of
                 TrajViT, and more)
  clips.jsonl    one such object a line
  clips.csv      "path label" a line, also as .txt: the label is the last field,
                 so a path may hold spaces (the layout of VideoMAE and V-JEPA)
  folder/        one folder a class, or a flat folder of unlabelled files
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterator

from absl import logging

from trajvit.data.paths import path_inside

# fmt: off
VIDEO_SUFFIXES = frozenset({
  ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts",
  ".flv", ".wmv", ".3gp", ".gif",
})
IMAGE_SUFFIXES = frozenset({
  ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff",
})
# fmt: on
# fmt: off
_KEYS = frozenset({
  "video", "image", "caption", "mask", "graph", "label", "labels", "start",
  "end",
})
# fmt: on

_MAX_LABEL = 2**31 - 1
_MAX_SECONDS = 1e9


@dataclasses.dataclass(frozen=True)
class Record:
  """One line of a manifest.

  Attributes:
    path: the file, absolute or relative to the working directory. It may be
      missing: that is found out, and counted, when the clip is read.
    is_image: whether the file is a still image.
    captions: all its captions, blank ones left out; empty if there are none.
    label: class, -1 = unknown.
    labels: all classes, ascending, of a clip that may have several; `label`
      is then -1.
    start: where in the video the clip begins, in seconds.
    end: where it ends, in seconds, or None for the end of the video.
    mask: the file of per-frame region ids, where the manifest names one.
    graph: the file that links those ids over time, where it names one.
  """

  path: str
  is_image: bool
  captions: tuple[str, ...] = ()
  label: int = -1
  labels: tuple[int, ...] = ()
  start: float = 0.0
  end: float | None = None
  mask: str | None = None
  graph: str | None = None


def read_manifest(path: str | os.PathLike, root: str = "") -> list[Record]:
  """Returns the records of a manifest, in its order.

  Args:
    path: a .json, .jsonl, .csv or .txt file, or a folder.
    root: the folder that relative paths start from and that no path may leave;
      "" is the manifest's own, "/" allows all. A folder that is itself the
      manifest needs none.

  Returns:
    At least one record. Labels that are strings become the ranks of their
    sorted names, so two manifests agree on them only if they hold the same
    classes; a class folder is a class even when it is empty.

  Raises:
    ValueError: a record is not what it should be or names a file outside of
      `root`, naming the file, the record and what came; or there is no record
      at all.
    OSError: the manifest itself cannot be read.
  """
  path = pathlib.Path(path)
  root = pathlib.Path(root) if root else path.parent
  if path.is_dir():
    records = _read_folder(path)
  elif path.suffix == ".json":
    records = _read_objects(path, root, _json_list(path))
  elif path.suffix == ".jsonl":
    records = _read_objects(path, root, _json_lines(path))
  elif path.suffix in (".csv", ".txt"):
    records = _read_pairs(path, root)
  else:
    raise ValueError(
      f"{path}: expected a .json, .jsonl, .csv or .txt manifest or a folder"
    )
  if not records:
    raise ValueError(f"{path}: expected at least one record, found none")
  return records


def _text(path: pathlib.Path) -> str:
  try:
    return path.read_text(encoding="utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: expected UTF-8 text: {error}") from error


def _lines(path: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields (where, line) for every line that is not blank."""
  for number, line in enumerate(_text(path).split("\n"), 1):
    if line.strip():
      yield f"{path}, line {number}", line.strip()


def _json_list(path: pathlib.Path) -> Iterator[tuple[str, object]]:
  """Yields (where, value) for the items of the list a JSON file holds."""
  try:
    values = json.loads(_text(path))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: expected JSON: {error}") from error
  if not isinstance(values, list):
    raise ValueError(f"{path}: expected a list, got {_shown(values)}")
  for number, value in enumerate(values, 1):
    yield f"{path}, record {number}", value


def _json_lines(path: pathlib.Path) -> Iterator[tuple[str, object]]:
  """Yields (where, value) for the lines of a JSONL file."""
  for where, line in _lines(path):
    try:
      yield where, json.loads(line)
    except (ValueError, RecursionError) as error:
      raise ValueError(f"{where}: expected JSON: {error}") from error


def _read_objects(path, root, values) -> list[Record]:
  """Reads records out of parsed JSON; string labels are ranked at the end."""
  records, labels, unread = [], [], set()
  for where, value in values:
    if not isinstance(value, dict):
      raise ValueError(f"{where}: expected an object, got {_shown(value)}")
    kinds = [kind for kind in ("video", "image") if kind in value]
    if len(kinds) != 1:
      raise ValueError(
        f'{where}: expected one of the keys "video" and "image", '
        f"got the keys {sorted(value)}"
      )
    label = value.get("label", -1)
    if isinstance(label, bool) or not isinstance(label, int | str):
      raise ValueError(
        f"{where}: expected label to be a number or a name, got {_shown(label)}"
      )
    if isinstance(label, int):
      _check_label(where, label)
    if "label" in value:
      if labels and isinstance(label, str) != isinstance(labels[0], str):
        raise ValueError(
          f"{where}: expected labels to be all numbers or all names, "
          f"got {_shown(label)} after {_shown(labels[0])}"
        )
      labels.append(label)
    records.append(
      Record(
        path=_file(where, value, kinds[0], root),
        is_image=kinds[0] == "image",
        captions=_captions(where, value.get("caption", [])),
        label=label,
        labels=_labels(where, value.get("labels", [])),
        **_extent(where, value, is_image=kinds[0] == "image"),
        mask=_file(where, value, "mask", root),
        graph=_file(where, value, "graph", root),
      )
    )
    unread |= set(value) - _KEYS
  if unread:
    logging.warning("%s: nothing reads the keys %s", path, sorted(unread))
  ranks = {name: i for i, name in enumerate(sorted(set(labels)))}
  return [
    dataclasses.replace(r, label=ranks[r.label])
    if isinstance(r.label, str)
    else r
    for r in records
  ]


def _file(where, value, key, root) -> str | None:
  """Returns the path under `key`, resolved, or None if it is not given."""
  name = value.get(key)
  if name is None and key in ("mask", "graph"):
    return None
  if not isinstance(name, str) or not name:
    raise ValueError(
      f"{where}: expected {key} to be a path, got {_shown(name)}"
    )
  return path_inside(root, name, where, key)


def _check_label(where, label) -> None:
  if not -1 <= label <= _MAX_LABEL:
    raise ValueError(
      f"{where}: expected a label from -1 up to {_MAX_LABEL}, got {label}"
    )


def _captions(where, value) -> tuple[str, ...]:
  captions = [value] if isinstance(value, str) else value
  if not isinstance(captions, list) or not all(
    isinstance(caption, str) for caption in captions
  ):
    raise ValueError(
      f"{where}: expected caption to be a string or a list of strings, "
      f"got {_shown(value)}"
    )
  for caption in captions:
    try:
      caption.encode()
    except UnicodeEncodeError as error:
      raise ValueError(
        f"{where}: expected a caption in Unicode, got {_shown(caption)}: "
        f"{error.reason}"
      ) from error
  return tuple(caption for caption in captions if caption.strip())


def _labels(where, value) -> tuple[int, ...]:
  whole = isinstance(value, list) and all(type(x) is int for x in value)
  if not whole or not all(0 <= x <= _MAX_LABEL for x in value):
    raise ValueError(
      f"{where}: expected labels to be a list of numbers from 0 up, "
      f"got {_shown(value)}"
    )
  return tuple(sorted(set(value)))


def _extent(where, value, *, is_image) -> dict:
  """Where a clip begins and ends in its video."""
  start, end = value.get("start", 0.0), value.get("end")
  if is_image and ("start" in value or "end" in value):
    raise ValueError(f"{where}: expected no start and no end of an image")
  numbers = (start,) if end is None else (start, end)
  if not all(
    type(x) in (int, float) and -math.inf < x < _MAX_SECONDS for x in numbers
  ):
    raise ValueError(
      f"{where}: expected start and end in seconds, "
      f"got {_shown(start)} and {_shown(end)}"
    )
  if start < 0 or (end is not None and end <= start):
    raise ValueError(
      f"{where}: expected 0 <= start < end, got {start} and {end}"
    )
  return {"start": float(start), "end": None if end is None else float(end)}


def _read_pairs(path, root) -> list[Record]:
  """Reads "path label" lines."""
  records = []
  for where, line in _lines(path):
    fields = line.rsplit(maxsplit=1)
    try:
      name, label = fields[0], int(fields[1])
    except (IndexError, ValueError):
      raise ValueError(
        f'{where}: expected "path label" with a whole number as label, '
        f"got {line!r}"
      ) from None
    _check_label(where, label)
    path_ = path_inside(root, name, where)
    records.append(Record(path_, _is_image(name), label=label))
  return records


def _read_folder(path) -> list[Record]:
  """Reads class folders, or a flat folder of files without labels."""
  classes = sorted(p for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
  loose = _media(path.iterdir())
  if classes and loose:
    raise ValueError(
      f"{path}: expected class folders or files, got both: "
      f"{len(classes)} folders beside {loose[0].name}"
    )
  records = [Record(str(p), _is_image(p.name)) for p in loose]
  for label, folder in enumerate(classes):
    caption = folder.name.replace("_", " ").replace("-", " ")
    records += [
      Record(str(p), _is_image(p.name), (caption,), label)
      for p in _media(folder.rglob("*"))
    ]
  return records


def _media(paths) -> list[pathlib.Path]:
  """The video and image files among `paths`, sorted."""
  return sorted(
    p
    for p in paths
    if p.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    and p.name[0] != "."
    and p.is_file()
  )


def _is_image(name: str) -> bool:
  return pathlib.PurePath(name).suffix.lower() in IMAGE_SUFFIXES


def _shown(value) -> str:
  """A value as a message quotes it: as JSON and not endless."""
  text = json.dumps(value)
  return text if len(text) <= 60 else text[:57] + "..."
