"""Integer arithmetic that patterns share: exact, and on intervals.

An interval is a pair (low, high) of int32 arrays, both ends included. What
takes coordinates of tokens runs inside kernels, where there is no division.
"""

import jax
import jax.numpy as jnp

from trajvit.ops.attention.pattern import EMPTY, FULL, PARTIAL, Bounds

# `quotient` is exact below this; frames, rows and columns are.
LARGEST_COORDINATE = 4096


def difference(query: Bounds, key: Bounds, name: str) -> tuple:
  """Returns the interval of "query minus key" in the coordinate `name`."""
  return (
    getattr(query.low, name) - getattr(key.high, name),
    getattr(query.high, name) - getattr(key.low, name),
  )


def magnitude(interval: tuple) -> tuple:
  """Returns the interval of the absolute values."""
  low, high = interval
  return (
    jnp.maximum(jnp.maximum(low, -high), 0),
    jnp.maximum(high, -low),
  )


def inside(interval: tuple, least: int | None, most: int | None) -> jax.Array:
  """Returns the classes of "least <= value <= most"; None is no limit."""
  low, high = interval
  empty = full = low <= high  # true of any interval
  empty &= False
  if least is not None:
    empty |= high < least
    full &= low >= least
  if most is not None:
    empty |= low > most
    full &= high <= most
  return classify(empty, full)


def classify(empty: jax.Array, full: jax.Array) -> jax.Array:
  """Returns EMPTY where `empty`, else FULL where `full`, else PARTIAL."""
  return jnp.where(empty, EMPTY, jnp.where(full, FULL, PARTIAL))


def absolute(x: jax.Array) -> jax.Array:
  """Returns |x|."""
  return jnp.maximum(x, -x)


def fill_below(x: jax.Array) -> jax.Array:
  """Returns 2^n - 1 for x of n bits, x >= 0: all bits below the highest set."""
  for shift in (1, 2, 4, 8, 16):
    x = x | (x >> shift)
  return x


def quotient(x: jax.Array, divisor: int) -> jax.Array:
  """Returns x // divisor for 0 <= x < 4096 and a divisor up to 256.

  Powers of two are a shift, others a product with the rounded reciprocal in
  units of 2^-20, whose error is below 1 / divisor in that range.
  """
  if divisor & (divisor - 1) == 0:
    return x >> (divisor.bit_length() - 1)
  return (x * (2**20 // divisor + 1)) >> 20


def check_least(pattern, least: int, **values: int | None):
  """Checks that the arguments of a pattern are integers of at least `least`.

  Raises:
    ValueError: one is not; None passes.
  """
  for name, value in values.items():
    if value is not None and (not isinstance(value, int) or value < least):
      raise ValueError(
        f"{type(pattern).__name__} needs an integer {name} of at least "
        f"{least}, got {value!r}"
      )


def check_power_of_two(pattern, **values: int):
  """Checks that the arguments of a pattern are powers of two.

  Raises:
    ValueError: one is not.
  """
  check_least(pattern, 1, **values)
  for name, value in values.items():
    if value & (value - 1):
      raise ValueError(
        f"{type(pattern).__name__} needs a power of two as {name}, because "
        f"kernels do not divide; got {value}"
      )


def as_grid(pattern, name: str, value) -> tuple[int, int, int]:
  """Returns three positive integers as a tuple.

  Raises:
    ValueError: `value` is something else.
  """
  sizes = tuple(value)
  if len(sizes) != 3:
    raise ValueError(
      f"{type(pattern).__name__} needs {name} = (t, y, x), got {value!r}"
    )
  check_least(pattern, 1, **{f"{name}[{i}]": n for i, n in enumerate(sizes)})
  return sizes
