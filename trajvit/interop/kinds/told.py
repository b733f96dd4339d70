"""What a config from elsewhere says, by dotted paths."""

from collections.abc import Mapping


class Told:
  """A nested config of which what is needed is asked for by its path.

  Args:
    parts: nested dicts, as they were read.
  """

  def __init__(self, parts: Mapping):
    self.parts = parts

  def get(self, path: str, default=None):
    """Returns the value at "a.b.c", or `default` if there is none."""
    value = self.parts
    for key in path.split("."):
      if not isinstance(value, Mapping) or value.get(key) is None:
        return default
      value = value[key]
    return value

  def needed(self, path: str):
    """Returns the value at a path.

    Raises:
      ValueError: there is none.
    """
    value = self.get(path)
    if value is None:
      raise ValueError(
        f"the config must say {path}, which no weight tells; it is read from "
        "the header of a .safetensors file and from --config"
      )
    return value

  def numbers(self, path: str, count: int | None = None) -> tuple[int, ...]:
    """Returns the whole numbers above 0 at a path, `count` of them if given.

    Raises:
      ValueError: something else is there, or nothing.
    """
    value = self.needed(path)
    fits = isinstance(value, list | tuple) and all(
      type(x) is int and x > 0 for x in value
    )
    if not fits or (count is not None and len(value) != count):
      raise ValueError(
        f"{path} must be {'' if count is None else f'{count} '}whole numbers "
        f"above 0, got {value!r}"
      )
    return tuple(value)

  def number(self, path: str, default: float | None = None) -> float:
    """Returns the number at a path, needed if there is no default.

    Raises:
      ValueError: something else is there, or nothing.
    """
    value = self.needed(path) if default is None else self.get(path, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
      raise ValueError(f"{path} must be a number, got {value!r}")
    return float(value)

  def only(self, path: str, *, known, needed: bool = False) -> None:
    """Raises ValueError if another value than `known` is at a path.

    Args:
      path: of a value.
      known: the one that our model does.
      needed: whether there has to be one.
    """
    value = self.needed(path) if needed else self.get(path, known)
    if value != known:
      raise ValueError(f"{path} must be {known!r}, got {value!r}")
