"""The cleaning of captions that video-text code hands down."""

import re
import string

_DELETED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/]")
_TO_SPACES = str.maketrans(string.punctuation, " " * len(string.punctuation))


def clean_caption(text: str) -> str:
  """Returns a caption in lower case, without punctuation, spaces collapsed.

  The cleaning that TrajViT (arXiv:2505.23617) inherits from earlier
  video-text code: `, . ' ! ? " ( ) * # : ; ~` vanish, `-` and `/` become
  spaces, `<person>` becomes `person`.
  """
  text = _SPACED.sub(" ", _DELETED.sub("", text.lower()))
  return " ".join(text.replace("<person>", "person").split())


def clean_sentence(text: str) -> str:
  """Returns a caption in lower case that ends in its only punctuation, a dot.

  All other ASCII punctuation becomes spaces, and spaces are collapsed: so
  VideoPrism (arXiv:2402.13217) reads captions.
  """
  return " ".join(text.translate(_TO_SPACES).lower().split()) + "."
