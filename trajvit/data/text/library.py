"""Libraries that only some text tokenizers need."""

import importlib
import types


def text_library(name: str) -> types.ModuleType:
  """Returns a module of the extra `text`.

  Raises:
    ValueError: it is not installed; says how to.
  """
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ValueError(
      f"this text tokenizer needs the library {name}: "
      f"`pip install 'trajvit[text]'` ({error})"
    ) from error
