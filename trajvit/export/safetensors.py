"""Reads the safetensors format with NumPy alone.

A file is the length of its header (8 bytes, little-endian), the header (JSON:
name -> dtype, shape, data_offsets), and the raw little-endian values. So small
a format is read here, so that loading an export needs no further library.
"""

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np

DTYPES = {
  "BOOL": np.dtype(np.bool_),
  "U8": np.dtype(np.uint8),
  "I8": np.dtype(np.int8),
  "I16": np.dtype("<i2"),
  "I32": np.dtype("<i4"),
  "I64": np.dtype("<i8"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "F32": np.dtype("<f4"),
  "F64": np.dtype("<f8"),
}


def read(path: str | Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a file by name, as read-only views of the file.

  Raises:
    ValueError: the file is not whole, or its header does not describe it; the
      message names the file and the array.
  """
  path = Path(path)
  text, data = _parts(path)
  arrays, end = {}, 0
  for name, (dtype, shape, start, stop) in sorted(
    _parse(path, text).items(), key=lambda item: item[1][2:]
  ):
    if start != end:
      raise ValueError(
        f"{path}: array {name!r} should begin at byte {end}, not {start}"
      )
    if stop - start != math.prod(shape) * dtype.itemsize:
      raise ValueError(
        f"{path}: array {name!r}, {dtype} {list(shape)}, takes "
        f"{math.prod(shape) * dtype.itemsize} bytes, got {stop - start}"
      )
    if stop > data.size:
      raise ValueError(
        f"{path}: array {name!r} ends at byte {stop} of {data.size}: "
        "the file is cut short"
      )
    arrays[name] = data[start:stop].view(dtype).reshape(shape)
    end = stop
  if end != data.size:
    raise ValueError(f"{path}: {data.size - end} bytes belong to no array")
  return arrays


def read_metadata(path: str | Path) -> dict[str, str]:
  """Returns what the header says besides its arrays, {} if nothing.

  Raises:
    ValueError: the header is not whole, or says something that is no text.
  """
  path = Path(path)
  found = _header(path, _parts(path)[0]).get("__metadata__", {})
  if not isinstance(found, dict) or not all(
    isinstance(value, str) for value in found.values()
  ):
    raise ValueError(f"{path}: __metadata__ must be texts by name, got {found}")
  return found


def _parts(path):
  """The bytes of the header, and those of all arrays, of a file."""
  size = path.stat().st_size
  if size < 8:
    raise ValueError(
      f"{path}: a safetensors file has at least 8 bytes, got {size}"
    )
  file = np.memmap(path, np.uint8, mode="r")
  length = int(file[:8].view("<u8")[0])
  if length > size - 8:
    raise ValueError(
      f"{path}: the header should be {length} bytes long, "
      f"but only {size - 8} follow"
    )
  return file[8 : 8 + length].tobytes(), file[8 + length :]


def check_arrays(arrays: dict, expected: dict, reader: str | Path) -> None:
  """Raises ValueError unless the arrays of model.safetensors are as expected.

  Args:
    arrays: by name.
    expected: name -> anything with a shape and a dtype.
    reader: who expects them, for the message.
  """
  unlike = sorted(
    name
    for name in expected.keys() | arrays.keys()
    if _kind(expected.get(name)) != _kind(arrays.get(name))
  )
  if unlike:
    name = unlike[0]
    raise ValueError(
      f"{reader} expects {name!r} to be {_kind(expected.get(name))}, but "
      f"model.safetensors has {_kind(arrays.get(name))} "
      f"({len(unlike)} arrays differ)"
    )


def _kind(array) -> str:
  return "nothing" if array is None else f"{array.dtype} {list(array.shape)}"


def _parse(path, text):
  """{name: (dtype, shape, start, stop)}, each of the right type."""
  header = _header(path, text)
  header.pop("__metadata__", None)
  return {name: _entry(path, name, value) for name, value in header.items()}


def _header(path, text):
  """The JSON object that the header is."""
  try:
    header = json.loads(text.decode())
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path}: the header is not JSON: {error}") from error
  if not isinstance(header, dict):
    raise ValueError(f"{path}: the header must be an object, got {header!r}")
  return header


def _entry(path, name, value):
  match value:
    case {"dtype": str(), "shape": [*shape], "data_offsets": [start, stop]}:
      numbers = [*shape, start, stop]
      if all(type(x) is int and x >= 0 for x in numbers):
        if value["dtype"] not in DTYPES:
          raise ValueError(
            f"{path}: array {name!r} has dtype {value['dtype']!r}; "
            f"known: {', '.join(DTYPES)}"
          )
        return DTYPES[value["dtype"]], tuple(shape), start, stop
  raise ValueError(
    f"{path}: array {name!r} needs dtype, shape and data_offsets, got {value}"
  )
