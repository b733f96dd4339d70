"""Reading lists of annotations: JSON, tables and lines, and their fields.

Whatever is wrong with a file is a ValueError that starts with `where`: the file
and, if known, the place in it. Rows come with their `where`, for `field` and
the other checks to say it.
"""

import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

_SHOWN = 60  # letters of a value that a message quotes
_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a number"}


def read_text(path: pathlib.Path) -> str:
  """Returns the content of a UTF-8 file, without a byte-order mark.

  Raises:
    ValueError: the file is missing, cannot be read or is not UTF-8.
  """
  try:
    return path.read_text(encoding="utf-8-sig")
  except FileNotFoundError:
    raise ValueError(f"{path}: expected this file, there is none") from None
  except OSError as error:
    raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
  except UnicodeDecodeError as error:
    raise ValueError(f"{path}: expected UTF-8 text: {error}") from error


def read_json(path: pathlib.Path, kind: type) -> Any:
  """Returns what a JSON file holds, which must be a `kind`: dict or list.

  Raises:
    ValueError: the file is missing, is not JSON, or holds something else.
  """
  text = read_text(path)
  try:
    value = json.loads(text)
  except ValueError as error:  # not JSON, or a number without end
    raise ValueError(f"{path}: expected JSON: {error}") from error
  except RecursionError:
    raise ValueError(f"{path}: expected JSON that nests less") from None
  return typed(str(path), "the file", value, kind)


def read_lines(path: pathlib.Path) -> list[tuple[str, str]]:
  """Returns (where, line) of all lines that are not blank, stripped.

  Raises:
    ValueError: the file is missing or is not UTF-8.
  """
  return [
    (f"{path}, line {number}", line.strip())
    for number, line in enumerate(read_text(path).split("\n"), 1)
    if line.strip()
  ]


def read_table(
  path: pathlib.Path,
  columns: Sequence[str],
  *,
  header: bool = True,
  delimiter: str = ",",
  quoted: bool = True,
) -> list[tuple[str, dict[str, str]]]:
  """Returns (where, row) of the rows of a table, each a dict by column.

  Args:
    path: the file.
    columns: those that must be there; without a header, all that there are, in
      their order, where rows may have more fields than these.
    header: whether the first row names the columns.
    delimiter: what stands between two fields.
    quoted: whether quotation marks group a field; if not, they are letters.

  Raises:
    ValueError: the file is missing, is not such a table, lacks a column, or a
      row is short of fields.
  """
  quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
  text = io.StringIO(read_text(path), newline="")
  reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
  rows, names = [], None if header else list(columns)
  try:
    for fields in reader:
      if not any(map(str.strip, fields)):
        continue
      where = f"{path}, line {reader.line_num}"
      if names is None:
        names = [name.strip() for name in fields]
        _require_columns(path, columns, names)
        continue
      if len(fields) < len(names):
        raise ValueError(
          f"{where}: expected the {len(names)} fields {', '.join(names)}, "
          f"got {len(fields)}"
        )
      rows.append((where, dict(zip(names, fields, strict=False))))
  except csv.Error as error:
    raise ValueError(f"{path}, line {reader.line_num}: {error}") from error
  if names is None:
    _require_columns(path, columns, [])
  return rows


def _require_columns(path, columns, names) -> None:
  missing = [column for column in columns if column not in names]
  if missing:
    raise ValueError(
      f"{path}: expected the columns {', '.join(columns)}, "
      f"got {', '.join(names) or 'none'}"
    )


def typed(where: str, what: str, value: Any, kind: type) -> Any:
  """Returns `value`, which must be a dict, list, str or int; True is none.

  Raises:
    ValueError: it is something else, named as `what`.
  """
  if isinstance(value, bool) or not isinstance(value, kind):
    raise ValueError(
      f"{where}: expected {what} to be {_KINDS[kind]}, got {shown(value)}"
    )
  return value


def field(where: str, row: Any, key: str, kind: type) -> Any:
  """Returns `row[key]`, where `row` must be a dict and the value a `kind`.

  Raises:
    ValueError: it is no dict, has no such key, or the value is something else.
  """
  if key not in typed(where, "the entry", row, dict):
    raise ValueError(f"{where}: expected the key {key!r}, got {shown(row)}")
  return typed(where, repr(key), row[key], kind)


def name_inside(where: str, name: str) -> str:
  """Returns `name`, which must name a file or folder inside of another.

  Raises:
    ValueError: it is empty, absolute, climbs out by "..", or cannot be a name
      of a file at all.
  """
  path = pathlib.PurePosixPath(name)
  outside = not path.parts or path.is_absolute() or ".." in path.parts
  if outside or "\0" in name or not _can_be_encoded(name):
    raise ValueError(
      f"{where}: expected a name inside of its folder, got {shown(name)}"
    )
  return name


def strings(where: str, what: str, values: Any) -> list[str]:
  """Returns a list of texts.

  Raises:
    ValueError: it is none, named as `what`.
  """
  return [
    typed(where, f"{what}[{i}]", value, str)
    for i, value in enumerate(typed(where, what, values, list))
  ]


def nonblank(texts: Iterable[str]) -> tuple[str, ...]:
  """Returns the texts that say something, stripped."""
  return tuple(text.strip() for text in texts if text.strip())


def _can_be_encoded(name) -> bool:
  try:
    os.fsencode(name)
  except UnicodeEncodeError:
    return False
  return True


def number(where: str, what: str, value: str | float) -> float:
  """Returns a finite number, out of a table or of JSON.

  Raises:
    ValueError: it is none, named as `what`.
  """
  try:
    if isinstance(value, bool):
      raise TypeError
    found = float(value)
  except (TypeError, ValueError, OverflowError):
    found = math.nan
  if not math.isfinite(found):
    raise ValueError(
      f"{where}: expected {what} to be a number, got {shown(value)}"
    )
  return found


def segment(
  where: str, value: Any, *, negative: bool = False
) -> tuple[float, float]:
  """Returns (start, end) in seconds from the start; either may be the larger.

  Raises:
    ValueError: it is not a list of two numbers, or, unless `negative`, one of
      them is below 0.
  """
  if not isinstance(value, list) or len(value) != 2:
    raise ValueError(f"{where}: expected [start, end], got {shown(value)}")
  start, end = (number(where, "a time", time) for time in value)
  if not negative and min(start, end) < 0:
    raise ValueError(f"{where}: expected times from 0 up, got {shown(value)}")
  return start, end


def shown(value: Any) -> str:
  """Returns a value as a message quotes it: as JSON and not endless."""
  text = json.dumps(value, default=repr)
  return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
