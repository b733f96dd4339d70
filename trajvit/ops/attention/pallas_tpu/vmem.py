"""How much VMEM a kernel takes, which decides what is held there.

The generation of the chip is not known when a program is traced, so shapes
alone decide, against a budget: by default three quarters of the 64 MiB that a
core of v5p and TPU7x has. On v5e and v6e, with 128 MiB, more can stay resident:

  with vmem.budget(96 << 20):
    step = jax.jit(step).lower(...)
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator

import numpy as np

BUDGET = 48 << 20
_budget = contextvars.ContextVar("budget", default=BUDGET)
# The compiler adds its own to the blocks of a kernel; small ones feel it.
_SMALLEST_LIMIT = 16 << 20


@contextlib.contextmanager
def budget(size: int) -> Iterator[None]:
  """Inside, kernels that are traced keep within `size` bytes of VMEM.

  0 makes all of them stream.
  """
  token = _budget.set(size)
  try:
    yield
  finally:
    _budget.reset(token)


def fits(need: int) -> bool:
  """Returns whether `need` bytes are within the budget."""
  return need <= _budget.get()


def limit(need: int) -> int:
  """Returns the limit to compile a kernel with, in bytes."""
  return max(_SMALLEST_LIMIT, need + need // 8)


def padded(shape: tuple[int, ...], dtype) -> int:
  """Returns the bytes of an array in registers' tiles of 8 x 128 words."""
  size = np.dtype(dtype).itemsize
  *outer, rows, lanes = (1, *shape)
  rows = math.ceil(rows / (8 * 4 // size)) * (8 * 4 // size)
  return math.prod(outer) * rows * (math.ceil(lanes / 128) * 128) * size
