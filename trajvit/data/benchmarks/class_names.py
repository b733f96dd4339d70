"""Names of classes as people read them, and their labels.

What comes out is the phrase that a prompt takes in, "a video of {}".
"""

import re
from collections.abc import Iterable

_WORD = re.compile(r"[A-Z]+[0-9]*(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def readable(name: str) -> str:
  """Returns "replace CD drive" for "ReplaceCDDrive" and "replace_CD_drive".

  Abbreviations stay in capitals, everything else becomes small; what is neither
  a letter nor a digit only separates words.
  """
  words = _WORD.findall(name)
  return " ".join(
    word if len(word) > 1 and word.isupper() else word.lower() for word in words
  )


def ranked(names: Iterable[str]) -> dict[str, int]:
  """Returns name -> label: the rank among the different names, sorted."""
  return {name: label for label, name in enumerate(sorted(set(names)))}
