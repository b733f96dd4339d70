"""Sources as the command line names them."""

import inspect
import os
import typing

from trajvit.data.build import SOURCES


def parse_source(text: str, root: str = "") -> dict:
  """Returns the spec of a source.

  Args:
    text: the path of a manifest, or `name=array_record,root=...`: a name of
      SOURCES and its arguments, separated by commas, with text, number, True or
      False as values.
    root: the folder that relative paths of a manifest start from.

  Raises:
    ValueError: no such source or argument, or a value of another kind.
  """
  if not text.startswith("name=") or os.path.exists(text):
    return {"name": "video_files", "manifest": text, "root": root}
  if root:
    raise ValueError(f"root is for manifests, got {root!r} and {text!r}")
  spec = {}
  for item in text.split(","):
    key, equals, value = item.partition("=")
    if not equals or not key:
      raise ValueError(f"{text}: expected key=value, got {item!r}")
    spec[key] = value
  parameters = inspect.signature(SOURCES[spec["name"]].__init__).parameters
  for key in spec.keys() & parameters.keys():
    spec[key] = _value(text, key, spec[key], parameters[key].annotation)
  return spec


def _value(where, key, value, kind):
  """A value as the parameter that takes it is annotated."""
  kinds = {kind, *typing.get_args(kind)}  # of `int | None`
  if str in kinds:
    return value
  if bool in kinds:
    convert = {"True": True, "False": False}.__getitem__
  elif kinds & {int, float}:
    convert = float if float in kinds else int
  else:
    return value
  try:
    return convert(value)
  except (KeyError, ValueError) as error:
    raise ValueError(f"{where}: {key} cannot be {value!r}") from error
