"""Names of shards, as short patterns of them."""

import fnmatch
import re


def matching(names: list[str], pattern: str, where: str) -> list[str]:
  """Returns the names that a pattern of `expand` means, in their order.

  Raises:
    ValueError: a name that the pattern spells out is not there, or none fits.
  """
  known, chosen = set(names), set()
  for name in expand(pattern, where):
    found = {name} if name in known else set(fnmatch.filter(names, name))
    if not found:
      raise ValueError(f"{where}: expected shards {name!r}, found none")
    chosen |= found
  return [name for name in names if name in chosen]


def expand(pattern: str, where: str) -> list[str]:
  """Returns what the braces of a pattern stand for; `*`, `?`, `[` stay.

  "{000..011}" counts up with as many digits, "{a,b}" are both; braces do not
  nest. A pattern names files of one folder, so it holds no slash.

  Raises:
    ValueError: a slash, a brace without its pair, or more than 100,000 names.
  """
  if "/" in pattern or "\0" in pattern or pattern in ("", ".", ".."):
    raise ValueError(
      f"{where}: expected names of shards without a folder, got {pattern!r:.99}"
    )
  names = [""]
  for piece in re.split(r"(\{[^{}]*\})", pattern):
    if piece.startswith("{") and piece.endswith("}"):
      values = _brace(piece[1:-1], where)
    elif "{" in piece or "}" in piece:
      raise ValueError(
        f"{where}: expected pairs of braces, got {pattern!r:.99}"
      )
    else:
      values = [piece]
    if len(names) * len(values) > 100_000:
      raise ValueError(f"{where}: {pattern!r:.99} means above 100,000 shards")
    names = [name + value for name in names for value in values]
  return names


def _brace(inner, where) -> list[str]:
  counted = re.fullmatch(r"([0-9]{1,9})\.\.([0-9]{1,9})", inner)
  if not counted:
    return inner.split(",")
  first, last = counted.groups()
  if not 0 <= int(last) - int(first) < 100_000:
    raise ValueError(
      f"{where}: expected up to 100,000 numbers, got {{{inner}}}"
    )
  return [f"{i:0{len(first)}}" for i in range(int(first), int(last) + 1)]
