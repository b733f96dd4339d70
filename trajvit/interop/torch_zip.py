"""PyTorch's .pth files, read and written without PyTorch.

A file is an uncompressed zip archive: NAME/data.pkl says what there is, and
NAME/data/KEY holds the numbers of one storage each.
"""

import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import ml_dtypes  # noqa: F401  makes NumPy know bfloat16
import numpy as np

from trajvit.interop.torch_pickle import (
  REBUILD,
  STORAGES,
  Storage,
  Tensor,
  read_pickle,
)

# Weights have a few hundred bytes of pickle a tensor.
LARGEST_PICKLE = 2**28
# How much more than itself the views of a file may take once they are copied.
MOST_COPIES = 4
_DAMAGED = (
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  struct.error,
  KeyError,
  RuntimeError,  # an archive with a password
)
_DATE = (1980, 1, 1, 0, 0, 0)


def read_torch(path: str | Path) -> tuple[object, "Archive"]:
  """Returns what a .pth file holds, and the archive to read arrays from.

  Args:
    path: a file that `torch.save` of PyTorch 1.6 or newer wrote.

  Returns:
    Dicts, lists, tuples, strings and numbers, with a `Tensor` for a tensor,
    which `Archive.array` reads.

  Raises:
    ValueError: it is no such file, damaged, compressed, or asks for more than
      weights need; nothing in it was run. The message names the file.
  """
  path = Path(path)
  try:
    archive = Archive(path)
    value = read_pickle(archive.read("data.pkl", limit=LARGEST_PICKLE))
  except _DAMAGED as error:
    raise ValueError(f"{path} is damaged: {error}") from error
  except ValueError as error:
    raise ValueError(f"{path}: {error}") from error
  return value, archive


class Archive:
  """The files in a .pth file.

  Args:
    path: of the file.

  Raises:
    ValueError: it is no archive of PyTorch.
  """

  def __init__(self, path: Path):
    self.path, self.size = path, path.stat().st_size
    if not zipfile.is_zipfile(path):
      raise ValueError(
        "it is no whole zip archive: it is cut short, or is in PyTorch's "
        "format before 1.6, which is not read; load it there and save it anew"
      )
    with zipfile.ZipFile(path) as opened:
      self._entries = {entry.filename: entry for entry in opened.infolist()}
    roots = [
      str(PurePosixPath(name).parent)
      for name in self._entries
      if PurePosixPath(name).name == "data.pkl"
    ]
    if len(roots) != 1:
      raise ValueError(f"expected one data.pkl in it, got {len(roots)}")
    self._root = roots[0]
    if any(x.compress_type for x in self._entries.values()):
      raise ValueError("its files are compressed, which PyTorch never does")
    if sum(x.file_size for x in self._entries.values()) > self.size:
      raise ValueError("its files are larger than itself")
    order = f"{self._root}/byteorder"
    if order in self._entries and self.read("byteorder") != b"little":
      raise ValueError("its numbers are big-endian, which is not read")
    self._storages, self._copied = {}, 0

  def read(self, name: str, *, limit: int | None = None) -> bytes:
    """Returns the bytes of a file, of which at most `limit` are allowed.

    Raises:
      ValueError: it is not there, or too large.
    """
    entry = self._entries.get(f"{self._root}/{name}")
    if entry is None:
      raise ValueError(f"it has no {name}")
    if limit is not None and entry.file_size > limit:
      raise ValueError(f"{name} has {entry.file_size} bytes, above {limit}")
    with zipfile.ZipFile(self.path) as opened:
      return opened.read(entry)

  def array(self, tensor: Tensor, name: str) -> np.ndarray:
    """Returns the numbers of a tensor, read-only, in row-major order.

    Args:
      tensor: as the pickle tells of it.
      name: of the tensor, for messages.

    Raises:
      ValueError: its storage is missing, or is not large enough.
    """
    try:
      flat = self._storage(tensor.storage)
    except _DAMAGED as error:
      raise ValueError(f"{self.path}: {name} is damaged: {error}") from error
    except ValueError as error:
      raise ValueError(f"{self.path}: {name}: {error}") from error
    last = tensor.offset
    last += sum(
      (n - 1) * step
      for n, step in zip(tensor.shape, tensor.strides, strict=True)
    )
    count = math.prod(tensor.shape)
    if count and last >= flat.size:
      raise ValueError(
        f"{self.path}: {name} {list(tensor.shape)} ends at number {last + 1} "
        f"of {flat.size}"
      )
    if not count:
      return np.zeros(tensor.shape, flat.dtype)
    view = np.lib.stride_tricks.as_strided(
      flat[tensor.offset :],
      tensor.shape,
      [step * flat.itemsize for step in tensor.strides],
      writeable=False,
    )
    if view.flags.c_contiguous:
      return view
    self._copied += count * flat.itemsize
    if self._copied > MOST_COPIES * self.size:
      raise ValueError(
        f"{self.path}: with {name} {list(tensor.shape)} its tensors take above "
        f"{MOST_COPIES} times its size"
      )
    return np.ascontiguousarray(view)

  def _storage(self, storage: Storage) -> np.ndarray:
    key = storage.key, storage.dtype
    if key not in self._storages:
      data = self.read(f"data/{storage.key}")
      dtype = np.dtype(storage.dtype).newbyteorder("<")
      if len(data) != storage.count * dtype.itemsize:
        raise ValueError(
          f"expected {storage.count} numbers of {dtype}, got {len(data)} bytes"
        )
      self._storages[key] = np.frombuffer(data, dtype)
    return self._storages[key]


def write_torch(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a .pth file that `torch.load(path, weights_only=True)` reads.

  Args:
    path: of the file; one that is there is replaced.
    arrays: by name, of dtypes that PyTorch has.

  Raises:
    ValueError: an array of another dtype.
  """
  kinds = {np.dtype(dtype): kind for kind, dtype in STORAGES.items()}
  arrays = {name: np.asarray(x) for name, x in arrays.items()}
  for name, x in arrays.items():
    if x.dtype not in kinds:
      raise ValueError(
        f"{name}: PyTorch stores {', '.join(sorted(STORAGES.values()))}, "
        f"got {x.dtype}"
      )
  parts = [b"\x80\x02ccollections\nOrderedDict\n)R("]
  for key, (name, x) in enumerate(arrays.items()):
    parts.append(_plain(name))
    parts.append(f"c{REBUILD.replace(' ', chr(10))}\n((".encode())
    parts.append(_plain("storage") + f"ctorch\n{kinds[x.dtype]}\n".encode())
    parts.append(_plain(str(key)) + _plain("cpu") + _plain(x.size) + b"tQ")
    steps = tuple(math.prod(x.shape[axis + 1 :]) for axis in range(x.ndim))
    parts.append(_plain(0) + _plain(x.shape) + _plain(steps))
    parts.append(b"\x89ccollections\nOrderedDict\n)RtR")
  parts.append(b"u.")
  with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
    root = Path(path).stem
    archive.writestr(_entry(f"{root}/data.pkl"), b"".join(parts))
    archive.writestr(_entry(f"{root}/byteorder"), b"little")
    for key, x in enumerate(arrays.values()):
      data = x.astype(x.dtype.newbyteorder("<")).tobytes()
      archive.writestr(_entry(f"{root}/data/{key}"), data)
    archive.writestr(_entry(f"{root}/version"), b"3\n")


def _entry(name):
  return zipfile.ZipInfo(name, _DATE)


def _plain(value) -> bytes:
  """The instructions that put a string, a number or a tuple on the stack."""
  if isinstance(value, str):
    text = value.encode()
    return b"X" + struct.pack("<I", len(text)) + text
  if isinstance(value, tuple):
    return b"(" + b"".join(map(_plain, value)) + b"t"
  if value < 2**31:
    return b"J" + struct.pack("<i", value)
  return b"\x8a\x08" + struct.pack("<q", value)
