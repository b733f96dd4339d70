"""Words that a mirror makes false: left, right, clockwise and their kin."""

import re

# Not part of longer words: "bright" and "leftovers" have no side.
_SIDED = re.compile(
  r"(?<![a-z])"
  r"(?P<word>left|right|(?P<counter>(?:counter|anti)[- ]?)?clockwise)"
  r"(?=(?:wards?|most|hand(?:ed)?|side)?(?![a-z]))",
  re.IGNORECASE,
)
_MIRRORED = {"left": "right", "right": "left", "clockwise": "counterclockwise"}


def is_sided(caption: str) -> bool:
  """Whether an English caption may tell a clip from its mirror image.

  It does where it has one of the words left, right, clockwise, counterclockwise
  and anticlockwise, whatever they mean there ("he left the room"), also with
  -ward, -wards, -most, -hand, -handed or -side, in any case, hyphenated or not.
  """
  return _SIDED.search(caption) is not None


def swap_sides(caption: str) -> str:
  """Returns the caption of the mirror image: each such word exchanged.

  Left and right take each other's place, clockwise and counterclockwise too;
  a word in capitals, or with the first letter in capitals, stays so. Meaning is
  not looked at: "he left the room" becomes "he right the room".
  """
  return _SIDED.sub(_mirrored, caption)


def _mirrored(match: re.Match) -> str:
  word = match["word"]
  new = "clockwise" if match["counter"] else _MIRRORED[word.lower()]
  if word.isupper():
    return new.upper()
  return new.capitalize() if word[0].isupper() else new
