"""Reducers inside an encoder: where they are, and what they did."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.types import Tokens

Reducers = Sequence[Reducer | None]


def checked(reducers: Reducers, stages: int) -> list[Reducer | None]:
  """Returns stages + 1 reducers: in front of each stage, and behind the last.

  Raises:
    ValueError: another number than none, `stages` or one more; or the first
      one needs the block before it.
  """
  if len(reducers) not in (0, stages, stages + 1):
    raise ValueError(
      f"reducers needs one entry (or None) for each of the {stages} stages, "
      f"and may have one for the output, got {len(reducers)}"
    )
  reducers = [*reducers] + [None] * (stages + 1 - len(reducers))
  if wants_block(reducers[0]):
    raise ValueError(
      f"{type(reducers[0]).__name__} reads the block before it, and there is "
      "none in front of the first stage"
    )
  return reducers


def wants_block(reducer: Reducer | None) -> bool:
  """Returns whether a reducer reads the block before it."""
  return reducer is not None and reducer.needs_block


def reduce(
  reducer: Reducer | None,
  tokens: Tokens,
  block: LastBlock | None,
  key: jax.Array | None,
) -> tuple[Tokens, dict]:
  """Returns the tokens that are left, and the reducer's aux.

  Aux has `tokens_in` and `tokens_out` [B] int32, the real tokens before and
  after, and `changed` [B] bool, whether they differ: that of a reducer that
  never engaged is False. All are absent where there is no reducer.
  """
  if reducer is None:
    return tokens, {}
  asked = {"block": block} if reducer.needs_block else {}
  reduced, aux = reducer(tokens, key=key, **asked)
  before, after = (x.mask.sum(1, dtype=jnp.int32) for x in (tokens, reduced))
  counts = dict(tokens_in=before, tokens_out=after, changed=before != after)
  return reduced, aux | counts


def metrics(reducers: Sequence[dict]) -> dict[str, jax.Array]:
  """Returns what reducers tell, by their number: means over clips.

  Args:
    reducers: the aux of each.
  """
  told = {}
  for number, aux in enumerate(reducers):
    if "tokens_in" not in aux:
      continue
    found = {
      name: aux[name].mean(dtype=jnp.float32)
      for name in ("tokens_in", "tokens_out", "changed", "overflow")
      if name in aux
    } | aux.get("metrics", {})
    told |= {f"reducers/{number}/{name}": x for name, x in found.items()}
  return told
