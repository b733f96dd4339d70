"""Python literals in text that nobody vouches for.

Some files hold a config as the `str` of Python values. What is read here are
numbers, strings, True, False, None and lists, tuples and dicts of them, and
nothing else: no names, no operators, no calls.
"""

import ast
import re

LONGEST, DEEPEST = 100_000, 32

_TOKEN = re.compile(
  r"""\s*(?:
    (?P<open>[\[({]) | (?P<close>[\])}]) | (?P<between>[,:]) | (?P<value>
      '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*"
      | -?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?
      | True | False | None
    )
  )\s*""",
  re.VERBOSE,
)


def literal(text: str) -> object:
  """Returns the value that `text` is, or `text` itself if it is none.

  Args:
    text: anything. What is longer than LONGEST characters, or has lists inside
      of each other more than DEEPEST times, is no literal.
  """
  if len(text) > LONGEST or not _is_plain(text):
    return text
  try:
    return ast.literal_eval(text.strip())
  except (ValueError, SyntaxError, TypeError):
    return text


def _is_plain(text):
  """Whether there are values and brackets alone, and none too deep.

  Two values never follow each other, so that `1 -1` is no sum: only brackets
  make a literal deep, which is what Python's own reader cannot bear.
  """
  at, depth, after_value = 0, 0, False
  while at < len(text):
    match = _TOKEN.match(text, at)
    if match is None or (match["value"] and after_value):
      return False
    depth += bool(match["open"]) - bool(match["close"])
    if not 0 <= depth <= DEEPEST:
      return False
    at, after_value = match.end(), bool(match["value"] or match["close"])
    if match["open"]:
      after_value = False
  return depth == 0
