"""What is known of a kind of checkpoint."""

import dataclasses
from collections.abc import Callable

from trajvit.interop.names import NameTable


@dataclasses.dataclass(frozen=True)
class Plan:
  """What a state dict is to become.

  Attributes:
    model: spec of an entry in MODELS.
    context: what `build_model` gets besides: `clip_shape`, `max_tracks`,
      `vocab_size`, `text_length`.
    table: from their names to those of the model.
    notes: what differs from what the weights were trained with, or is as odd as
      there, a sentence each, for the model card.
    text: spec of the text tokenizer, or None where none is known.
  """

  model: dict
  context: dict
  table: NameTable
  notes: tuple[str, ...] = ()
  text: dict | None = None


@dataclasses.dataclass(frozen=True)
class Kind:
  """A kind of checkpoint.

  Attributes:
    summary: a sentence on it.
    marker: a regular expression that is found in one of its names, and in none
      of any other kind's.
    plan: `plan(shapes, *, compat, **config) -> Plan`, shapes being {name:
      shape}. Its other keywords are what the config may say.
    header: `header(metadata) -> config`, what the header of a .safetensors file
      says in place of the config; None reads nothing of it.
    reference: `reference(model, compat, video, mask, graph) -> array`, what the
      code that the weights come from returns; None where that is not offered.
  """

  summary: str
  marker: str
  plan: Callable[..., Plan]
  header: Callable[[dict[str, str]], dict] | None = None
  reference: Callable | None = None


def clip_context(
  *,
  frames: int,
  size: int,
  max_tracks: int = 1,
  vocab_size: int = 1,
  text_length: int = 1,
) -> dict:
  """Returns the context of a plan."""
  return dict(
    clip_shape=(frames, size, size),
    max_tracks=max_tracks,
    vocab_size=vocab_size,
    text_length=text_length,
  )


def count(shapes: dict, pattern: str) -> int:
  """Returns how many numbers in a row, from 0 on, names have at `{}`.

  Args:
    shapes: by name.
    pattern: what such a name begins with, such as "encoder.layer.{}.".

  Raises:
    ValueError: none.
  """
  found = 0
  while any(name.startswith(pattern.format(found)) for name in shapes):
    found += 1
  if not found:
    raise ValueError(f"expected names that begin with {pattern.format(0)!r}")
  return found


def axes_of(shapes: dict, name: str, count: int) -> tuple[int, ...]:
  """Returns a shape.

  Raises:
    ValueError: there is no such array, or it has not so many axes.
  """
  if name not in shapes:
    raise ValueError(f"expected an array {name!r}, which is missing")
  if len(shapes[name]) != count:
    raise ValueError(f"{name} must have {count} axes, got {list(shapes[name])}")
  return tuple(shapes[name])


def known_heads(
  width: int,
  *,
  told: int | None = None,
  rotary: tuple[int, ...] | None = None,
  depth: int | None = None,
) -> int:
  """Returns how many heads of attention there are.

  No weight tells it, but for a table of rotary phases, which has one for every
  four channels of a head. Otherwise ViT-B has 12, ViT-L and ViT-H 16.

  Args:
    width: D.
    told: by the config, or None.
    rotary: shape of the table, or None.
    depth: blocks of a ViT, or None.

  Raises:
    ValueError: it is not known, two sources differ, or it does not divide D.
  """
  found = told
  if rotary is not None:
    found = width // (4 * rotary[0])
    if told is not None and told != found:
      raise ValueError(
        f"config.num_heads is {told}, but the rotary table {list(rotary)} of "
        f"width {width} is for {found}"
      )
  if found is None and depth is not None:
    found = {12: 12, 24: 16, 32: 16}.get(depth)
  if not found or width % found:
    raise ValueError(
      f"config.num_heads must divide the width {width}; got {found}"
    )
  return found
