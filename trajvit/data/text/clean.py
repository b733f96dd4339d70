"""The cleaning of captions that video-text code hands down."""

import re

_DELETED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/]")


def clean_caption(text: str) -> str:
  """Returns a caption in lower case, without punctuation, spaces collapsed.

  The cleaning that TrajViT (arXiv:2505.23617) inherits from earlier
  video-text code: `, . ' ! ? " ( ) * # : ; ~` vanish, `-` and `/` become
  spaces, `<person>` becomes `person`.
  """
  text = _SPACED.sub(" ", _DELETED.sub("", text.lower()))
  return " ".join(text.replace("<person>", "person").split())
