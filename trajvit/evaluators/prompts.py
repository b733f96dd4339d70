"""Classes as text: their names in a set of templates, averaged to a vector."""

import hashlib
import json
import pathlib
from collections.abc import Sequence

import numpy as np

from trajvit.evaluators.features import Features

# Sets of templates by name; the name of a class takes the place of {}.
TEMPLATES = {
  "plain": ("{}",),
  "actions": (
    "a video of {}.",
    "a short clip of {}.",
    "somebody is filmed: {}.",
    "people in a video: {}.",
    "this video shows {}.",
    "the action is {}.",
    "an example of {}.",
    "{}, seen on camera.",
  ),
  "objects": (
    "a photo of a {}.",
    "a picture with a {} in it.",
    "a {} from close by.",
    "a {} from far away.",
    "a blurred photo of a {}.",
    "a dark photo of a {}.",
    "a drawing of a {}.",
    "this is a {}.",
  ),
}


class ClassTexts:
  """The classes of a source as text.

  Attributes:
    classes: their names, by label.
    templates: what the names are put into.
    prompts: every name in every template, class by class.
  """

  def __init__(
    self,
    loader,
    *,
    classes: Sequence[str] | None = None,
    templates: str | Sequence[str] = "actions",
    renormalize: bool = True,
  ):
    """Makes the prompts.

    Args:
      loader: its source may have `classes`.
      classes: names by label; None takes those of the source.
      templates: a name in TEMPLATES, a file with a template a line, or the
        templates themselves.
      renormalize: whether the mean of a class's prompts is brought to norm 1.
        Without, a class whose prompts disagree is found less often.

    Raises:
      ValueError: no names, names that are not all different, or templates that
        cannot be read or have not one {} each.
    """
    if classes is None:
      classes = getattr(getattr(loader, "source", None), "classes", ())
    self.classes = tuple(classes)
    if not self.classes:
      raise ValueError(
        "classes must be named by the source or by `classes`, got none"
      )
    if len(set(self.classes)) < len(self.classes):
      twice = [x for x in self.classes if self.classes.count(x) > 1]
      raise ValueError(f"names of classes must differ, got {twice[0]!r} twice")
    self.templates = read_templates(templates)
    self.renormalize = renormalize
    self.prompts = tuple(
      template.replace("{}", name)
      for name in self.classes
      for template in self.templates
    )

  @property
  def manifest(self) -> dict:
    """What the numbers depend on besides the clips."""
    text = json.dumps(self.prompts)
    return {
      "classes": len(self.classes),
      "templates": list(self.templates),
      "renormalize": self.renormalize,
      "prompts_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }

  def vectors(self, features: Features) -> np.ndarray:
    """Returns [C, E] float64, the mean of a class's prompts of norm 1.

    Args:
      features: with the `prompts`.
    """
    found = features.prompted(self.prompts).astype(np.float64)
    found = unit_rows(found).reshape(len(self.classes), len(self.templates), -1)
    mean = found.mean(1)
    return unit_rows(mean) if self.renormalize else mean


def read_templates(templates: str | Sequence[str]) -> tuple[str, ...]:
  """Returns a set of templates, see `ClassTexts`.

  Raises:
    ValueError: neither a name nor a file, or a template without its one {}.
  """
  if isinstance(templates, str):
    where = templates
    templates = TEMPLATES.get(where) or _lines(where)
  else:
    where = "templates"
  for template in templates:
    if template.count("{}") != 1:
      raise ValueError(f"{where}: a template has one {{}}, got {template!r}")
  if not templates:
    raise ValueError(f"{where}: expected templates, got none")
  return tuple(templates)


def unit_rows(x: np.ndarray) -> np.ndarray:
  """Returns rows [n, E] of norm 1; one of zeros stays."""
  norm = np.linalg.norm(x, axis=-1, keepdims=True)
  return x / np.where(norm > 0, norm, 1)


def _lines(path: str) -> list[str]:
  """The lines of a file that are not blank."""
  try:
    text = pathlib.Path(path).read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise ValueError(
      f"templates must be one of {', '.join(TEMPLATES)} or a file, got "
      f"{path!r}: {error}"
    ) from error
  return [line.strip() for line in text.splitlines() if line.strip()]
