"""Named arrays in NumPy's .npz files, as Flax's weights often come.

Nothing of a file is run: an array of objects is a pickle, and is refused. What
the head of an array tells of is bounded by the bytes that the array has.
"""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from trajvit.data.npy_stream import ArrayStream, naming
from trajvit.data.npz_guard import check_method

_ENDING = ".npy"
_NUMBERS = "biuf"


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
  """Returns the arrays of a file by name, read-only.

  Args:
    path: a file that `numpy.savez` or `numpy.savez_compressed` wrote.

  Raises:
    ValueError: another kind of file, one that is damaged, or an array of other
      things than numbers; the message names the file and the array.
    FileNotFoundError: no such file.
  """
  with open(path, "rb") as file, naming(str(path)):
    if not zipfile.is_zipfile(file):
      raise ValueError("expected an npz file, got none or a part of one")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
      entries = archive.infolist()
      _check_entries(entries, size)
      return {
        entry.filename.removesuffix(_ENDING): _read(archive, entry)
        for entry in entries
      }


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes arrays by name; equal arrays give equal files.

  Raises:
    ValueError: a dtype that the format does not have, such as bfloat16.
  """
  found = {name: np.asarray(x) for name, x in arrays.items()}
  for name, x in found.items():
    if x.dtype.kind not in _NUMBERS:
      raise ValueError(f"{name}: an npz file stores numbers, got {x.dtype}")
  with zipfile.ZipFile(path, "w") as archive:
    for name, x in found.items():
      entry = zipfile.ZipInfo(name + _ENDING)  # of 1980, whenever it is
      with archive.open(entry, "w", force_zip64=True) as file:
        np.lib.format.write_array(file, x, allow_pickle=False)


def _check_entries(entries, size):
  """Raises ValueError unless each is an array, and no byte is in two."""
  names = [entry.filename for entry in entries]
  if others := [name for name in names if not name.endswith(_ENDING)]:
    raise ValueError(f"expected arrays alone, got {', '.join(others[:3])}")
  if len(set(names)) < len(names):
    raise ValueError("expected names that differ, got some of them twice")
  if sum(entry.compress_size for entry in entries) > size:
    raise ValueError(f"its arrays take more than its {size} bytes")


def _read(archive, entry):
  check_method(entry)
  with archive.open(entry) as file:
    with naming(entry.filename):
      stream = ArrayStream(
        entry.filename, file, entry.compress_size, kinds=_NUMBERS
      )
    found = stream.whole()
  return found.astype(found.dtype.newbyteorder("="), copy=False)
