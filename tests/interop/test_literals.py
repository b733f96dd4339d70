"""Values in text: what is one, and what only looks like it."""

import pytest

from trajvit.interop.literals import DEEPEST, LONGEST, literal

VALUES = [
  {"levels": [8, 8, 5], "name": "FSQ", "p": 0.2, "none": None, "yes": True},
  {"quotes": 'it\'s "so"', "escaped": "a\\n\\'", "brackets": "}])("},
  [-1.5, 2e-05, -3, (1,), (), {}, [[]], False, float("1e300")],
  "text",
  7,
]


@pytest.mark.parametrize("value", VALUES)
def test_what_python_prints_is_read_back(value):
  assert literal(repr(value)) == value
  assert type(literal(repr(value))) is type(value)
  assert literal(f"  {value!r}\n") == value


TEXTS = [
  "",
  "flextok.FlexTok",
  "__import__('os').system('true')",
  "[x for x in ()]",
  "{'a': open}",
  "1 + 1",
  "1 -1",
  "1-1-1",
  "- 1",
  "'a' 'b'",
  "f'{1}'",
  "b'1'",
  "{[]: 1}",
  "[1, 2",
  "1]",
  "[1)",
  "'unending",
  "1,,2",
  "9" * 5000,
  "nan",
]


@pytest.mark.parametrize("text", TEXTS)
def test_all_else_stays_text(text):
  assert literal(text) == text


def test_what_is_too_long_or_too_deep_stays_text():
  deep = "[" * DEEPEST + "]" * DEEPEST
  assert literal(deep) != deep
  for text in (f"[{deep}]", "(" * 50_000, "[1," * 50_000, "-" * 99_999):
    assert literal(text) == text
  long = "[" + "1," * (LONGEST // 2) + "]"
  assert literal(long) == long
