"""Round numbers for the axes of a chart."""

import math

_SPAN = 8.0  # a logarithmic axis below this ratio has ticks of a linear one


def linear(low: float, high: float, most: int = 6) -> list[float]:
  """Returns up to `most` multiples of 1, 2 or 5 times a power of ten.

  Args:
    low, high: finite, the ticks lie in [low, high]; where they are equal it is
      the only one.
    most: at least 2.
  """
  if high <= low:
    return [low]
  power = 10.0 ** (math.floor(math.log10((high - low) / most)) - 1)
  for step in (m * power * 10**e for e in range(4) for m in (1, 2, 5)):
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    if last - first < most:
      break
  return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def logarithmic(low: float, high: float, most: int = 6) -> list[float]:
  """Returns up to `most` of 1, 2, 5, 10, 20, 50 ... in [low, high].

  A narrow range has those of `linear`, a wide one powers of ten only.

  Raises:
    ValueError: `low` is not positive.
  """
  if low <= 0:
    raise ValueError(f"a logarithmic axis starts above 0, got {low}")
  if high / low < _SPAN:
    return linear(low, high, most)
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  for factors in ((1, 2, 5), (1, 3), (1,)):
    found = [
      float(f"{m}e{e}")
      for e in powers
      for m in factors
      if low * 0.999 <= float(f"{m}e{e}") <= high * 1.001
    ]
    if len(found) <= most:
      return found
  return found[:: -(-len(found) // most)]


def spelled(value: float) -> str:
  """Returns a tick as text: 0.05, 12, 1500, 20k, 3M."""
  for size, unit in ((1e6, "M"), (1e4, "k")):
    if abs(value) >= size:
      return f"{value / {'M': 1e6, 'k': 1e3}[unit]:g}{unit}"
  return f"{value:g}"
