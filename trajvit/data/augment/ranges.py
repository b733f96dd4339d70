"""Checks of numbers that a config gives."""


def check_number(what: str, value, low: float, high: float) -> None:
  """Raises ValueError unless `value` is a number in [low, high]."""
  is_number = isinstance(value, int | float) and not isinstance(value, bool)
  if not is_number or not low <= value <= high:
    raise ValueError(f"{what} must be in [{low}, {high}], got {value!r}")


def check_integer(what: str, value, low: int, high: int) -> None:
  """Raises ValueError unless `value` is a whole number in [low, high]."""
  check_number(what, value, low, high)
  if not isinstance(value, int):
    raise ValueError(f"{what} must be a whole number, got {value!r}")


def check_range(what: str, pair, low: float, high: float) -> None:
  """Raises ValueError unless `pair` is two ascending numbers in [low, high]."""
  if not isinstance(pair, tuple | list) or len(pair) != 2:
    raise ValueError(f"{what} must be (least, largest), got {pair!r}")
  for value in pair:
    check_number(what, value, low, high)
  if pair[0] > pair[1]:
    raise ValueError(f"{what} must be (least, largest), got {pair!r}")


def check_choice(what: str, value, known: tuple[str, ...]) -> None:
  """Raises ValueError unless `value` is one of `known`."""
  if value not in known:
    raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
