"""What an npz file may be, before anything of it is believed.

A few bytes can tell of terabytes: NumPy makes room for all that the head of an
array tells of before it reads on.
"""

import math
import struct
import threading
import tokenize
import zipfile
import zlib

import numpy as np

# What damaged files raise in NumPy and zipfile.
UNREADABLE = (
  ValueError,
  EOFError,
  KeyError,
  IndexError,
  OSError,
  OverflowError,
  RuntimeError,  # an archive with a password
  SyntaxError,
  TypeError,
  struct.error,
  tokenize.TokenError,
  zipfile.BadZipFile,
  zlib.error,
)
# Held while NumPy parses the head of an array, by Python's `ast`. That counts
# how deep it is for all threads together: where a finalizer lets another one
# parse in between, CPython 3.11 raises SystemError, once in many thousand.
PARSING = threading.RLock()
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_MAX_RATIO = 1032  # deflate makes nothing smaller than this part of it
_MAX_BYTES = 2**32  # of an array


def check_method(entry: zipfile.ZipInfo) -> None:
  """Checks that a file in an archive is packed as NumPy packs it.

  Raises:
    ValueError: it is packed in another way, which may hold far more.
  """
  if entry.compress_type not in _METHODS:
    raise ValueError(
      f"expected {entry.filename} to be stored or deflated, got the method "
      f"{entry.compress_type}"
    )


def check_claim(shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
  """Checks that an array can be in an npz file of `size` bytes.

  Raises:
    ValueError: it cannot, or has above 4 GiB.
  """
  claim = math.prod(shape) * dtype.itemsize
  if claim > min(size * _MAX_RATIO, _MAX_BYTES) or min(shape, default=0) < 0:
    raise ValueError(
      f"an array of {dtype} {shape} is not in a file of {size} bytes, or has "
      f"above {_MAX_BYTES}"
    )
