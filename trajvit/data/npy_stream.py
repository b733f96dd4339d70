"""Arrays in npz files, read a few rows at a time; code in them never runs."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np

from trajvit.data.media import Blob, Media, media_name
from trajvit.data.npz_guard import (
  PARSING,
  UNREADABLE,
  check_claim,
  check_method,
)

_HEADERS = {
  (1, 0): np.lib.format.read_array_header_1_0,
  (2, 0): np.lib.format.read_array_header_2_0,
}


class ArrayStream:
  """An array of numbers, from its first row to its last.

  Attributes:
    name: what messages call its file.
    shape: of the array.
    dtype: of the array.
  """

  def __init__(
    self, name: str, file: IO[bytes], size: int, *, kinds: str = "ui"
  ):
    """Reads the head of the array.

    Args:
      name: what messages call its file.
      file: the array.
      size: of the file that it is in, packed, in bytes.
      kinds: what the `kind` of its dtype may be; "ui" are integers.

    Raises:
      ValueError: it is no array of these, or cannot be in so few bytes.
    """
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
      raise ValueError(f"version {version} of the npy format")
    self.name, self._file = name, file
    with PARSING:
      self.shape, fortran_order, self.dtype = _HEADERS[version](file)
    if self.dtype.kind not in kinds or min(self.shape, default=0) < 0:
      wanted = "integers" if kinds == "ui" else "numbers"
      raise ValueError(f"expected {wanted}, got {self.dtype} {self.shape}")
    check_claim(self.shape, self.dtype, size)
    self._next = 0
    self._whole = None
    if fortran_order and len(self.shape) > 1:  # a row is not in one place
      self._whole = self._last_values(self.shape, order="F")

  def read(self, count: int) -> np.ndarray:
    """Returns the next `count` rows, or as many as there are.

    Raises:
      ValueError: the file ends before or goes on after the last one, or is
        damaged; the message names it.
    """
    start = self._next
    self._next = min(start + count, self.shape[0])
    if self._whole is not None:
      return self._whole[start : self._next]
    shape = (self._next - start, *self.shape[1:])
    with naming(self.name):
      if self._next == self.shape[0]:
        return self._last_values(shape)
      return self._values(shape)

  def whole(self) -> np.ndarray:
    """Returns the array, of which nothing has been read, read-only.

    Raises:
      ValueError: as `read`.
    """
    if self._whole is not None:
      return self._whole
    with naming(self.name):
      return self._last_values(self.shape)

  def _last_values(self, shape, order="C") -> np.ndarray:
    values = self._values(shape, order)
    if self._file.read(1):
      raise ValueError(f"more than an array {self.shape}")
    return values

  def _values(self, shape, order="C") -> np.ndarray:
    size = math.prod(shape) * self.dtype.itemsize
    content = self._file.read(size)
    if len(content) < size:
      raise ValueError(f"less than an array {self.shape}")
    return np.frombuffer(content, self.dtype).reshape(shape, order=order)


@contextlib.contextmanager
def open_array(file: Media, key: str) -> Iterator[ArrayStream]:
  """Opens the array of a name in an npz file.

  Raises:
    ValueError: it is no npz file, or has no such array of integers; the
      message names it.
    OSError: it cannot be opened.
  """
  name = media_name(file)
  with (
    file.open() if isinstance(file, Blob) else open(file, "rb") as opened,
    contextlib.ExitStack() as stack,
  ):
    with naming(name):
      if not zipfile.is_zipfile(opened):
        raise ValueError("expected an npz file")
      size = opened.seek(0, os.SEEK_END)
      archive = stack.enter_context(zipfile.ZipFile(opened))
      if f"{key}.npy" not in archive.namelist():
        raise ValueError(f"expected the key {key!r}, got {archive.namelist()}")
      check_method(archive.getinfo(f"{key}.npy"))
      entry = stack.enter_context(archive.open(f"{key}.npy"))
      stream = ArrayStream(name, entry, size)
    yield stream


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
  """Makes what is wrong with a file a ValueError that names it."""
  try:
    yield
  except UNREADABLE as error:
    message = " ".join(str(error).split())
    raise ValueError(f"{name}: {message}") from error
