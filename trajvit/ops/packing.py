"""Packing: clips of different token counts share rows of a fixed length.

`plan` decides where each clip goes, `place` which slot each token gets, `pack`
moves tokens there and `unpack` moves them back, as often as one likes. Clips
are packed in groups, see `types.Layout`, so that nothing here depends on, or
talks to, other devices. Attention keeps the clips of a row apart by `segments`.

Source: packing without cross-contamination, arXiv:2107.02027; for vision
Transformers NaViT, arXiv:2307.06304. We pack after tokenization and undo it
after attention, so that pooling, reducers and losses see clips.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from trajvit.types import Layout, PackedGroup, Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Placement:
  """Which token is in which slot; a partial permutation of each group.

  Letters: G groups, C clips a group, S = rows * length slots a group.

  Attributes:
    source: [G, S] int32 in [0, C N), the token in a slot; -1 = empty slot.
    slot: [G, C N] int32 in [0, S), the inverse; -1 = masked or left out.
    segments: [G, S] int32, see Tokens.
    overflow: [] int32, real tokens of the batch that found no slot.
    batch: B.
    group: size of the groups.
  """

  source: jax.Array
  slot: jax.Array
  segments: jax.Array
  overflow: jax.Array
  batch: int = dataclasses.field(metadata=dict(static=True))
  group: PackedGroup = dataclasses.field(metadata=dict(static=True))


def plan(counts: jax.Array, group: PackedGroup) -> Layout:
  """Returns where clips go whose token counts only the device knows.

  Best fit decreasing, inside jit: from the longest clip to the shortest, each
  goes to the fullest row that still has room for it. A clip that fits nowhere
  goes to the row with most room, and its last tokens overflow.
  `data.packing.plan` does the same on the host; the two agree exactly.

  Args:
    counts: [B] integers, real tokens of each clip.
    group: size of the groups; empty clips fill the last one up.
  """
  grouped = _in_groups(counts.astype(jnp.int32), group.clips)  # [G, C]
  fit = functools.partial(_best_fit, rows=group.rows, length=group.length)
  found = (x.reshape(-1)[: counts.shape[0]] for x in jax.vmap(fit)(grouped))
  return Layout(*found, group=group)


def place(mask: jax.Array, layout: Layout) -> Placement:
  """Returns the slot of every token: those of a clip one after the other.

  Counts come from the mask, so that a layout made for other counts costs
  tokens, which are counted, and never mixes clips: where two would overlap,
  the slot belongs to the one that starts later.

  Args:
    mask: [B, N] bool. Class and register tokens come first in a clip, so they
      are the last to overflow.
    layout: of B clips.

  Raises:
    ValueError: the layout is of another batch.
  """
  batch, count = mask.shape
  if layout.row.shape != (batch,) or layout.start.shape != (batch,):
    raise ValueError(
      f"layout must be of {batch} clips, got rows {layout.row.shape} and "
      f"starts {layout.start.shape}"
    )
  group = layout.group
  real, row, start = (
    _in_groups(x, group.clips) for x in (mask, layout.row, layout.start)
  )
  base = row * group.length
  first = base + start  # [G, C], slot of a clip's first token
  end = base + jnp.minimum(start + real.sum(-1), group.length)
  slots = jnp.arange(group.rows * group.length)
  inside = (first[..., None] <= slots) & (slots < end[..., None])  # [G, C, S]
  owner = jnp.where(inside, first[..., None], -1).argmax(1)  # [G, S]
  taken = inside.any(1)

  # The k-th real token of each clip, k = 0, 1, ...
  order = jnp.argsort(~real, axis=-1, stable=True).reshape(len(real), -1)
  rank = slots - _take(first, owner)
  token = _take(order, owner * count + jnp.clip(rank, 0, count - 1))
  source = jnp.where(taken, owner * count + token, -1)  # [G, S]

  slot = first[..., None] + jnp.cumsum(real, axis=-1) - 1  # [G, C, N]
  fits = real & (slot < end[..., None])
  slot, fits = (x.reshape(len(real), -1) for x in (slot, fits))
  mine = _take(source, jnp.where(fits, slot, 0)) == jnp.arange(slot.shape[1])
  slot = jnp.where(fits & mine, slot, -1)

  # Numbered as they lie in the rows: a block of slots then spans few numbers.
  number = jnp.argsort(jnp.argsort(first, axis=-1, stable=True), axis=-1)
  return Placement(
    source=source.astype(jnp.int32),
    slot=slot.astype(jnp.int32),
    segments=jnp.where(taken, _take(number, owner), -1).astype(jnp.int32),
    overflow=mask.sum(dtype=jnp.int32) - (slot >= 0).sum(dtype=jnp.int32),
    batch=batch,
    group=group,
  )


def pack(tokens: Tokens, placement: Placement) -> Tokens:
  """Returns the tokens in their slots.

  Args:
    tokens: [B, N, D], those that `placement` was made for; what fills masked
      slots is not read.
    placement: from `place`.

  Returns:
    G * rows rows of `length` slots, with `segments`.
  """
  groups = placement.source.shape[0]

  def move(x):
    flat = _in_groups(x, placement.group.clips)
    flat = flat.reshape(groups, -1, *x.shape[2:])  # [G, C N, ...]
    moved = _rearrange(flat, placement.source, placement.slot)
    return moved.reshape(-1, placement.group.length, *x.shape[2:])

  packed = jax.tree.map(move, dataclasses.replace(tokens, segments=None))
  segments = placement.segments.reshape(packed.mask.shape)
  return dataclasses.replace(packed, mask=segments >= 0, segments=segments)


def unpack(packed: Tokens, placement: Placement) -> Tokens:
  """Returns the tokens [B, N, D] in the order they had before `pack`.

  Args:
    packed: as from `pack`, whatever was done to its features.
    placement: the one they were packed by.

  Returns:
    Tokens without segments; what overflowed is masked.
  """
  groups, slots = placement.source.shape
  count = placement.slot.shape[1] // placement.group.clips

  def move(x):
    flat = x.reshape(groups, slots, *x.shape[2:])
    moved = _rearrange(flat, placement.slot, placement.source)
    return moved.reshape(-1, count, *x.shape[2:])[: placement.batch]

  return jax.tree.map(move, dataclasses.replace(packed, segments=None))


def _best_fit(counts, rows, length):
  """Row and start of the clips of one group; [C] -> [C], [C]."""

  def put(room, count):
    fits = room >= count
    tightest = jnp.argmin(jnp.where(fits, room, length + 1))
    row = jnp.where(fits.any(), tightest, jnp.argmax(room))
    free = room[row]
    room = jnp.where(jnp.arange(rows) == row, free - count, room)
    return jnp.maximum(room, 0), (row.astype(jnp.int32), length - free)

  order = jnp.argsort(-counts, stable=True)
  room = jnp.full(rows, length, jnp.int32)
  _, found = jax.lax.scan(put, room, counts[order])
  back = jnp.argsort(order)
  return tuple(x[back] for x in found)


def _in_groups(x, clips):
  """[B, ...] -> [G, clips, ...]; zeros fill the last group up."""
  missing = -x.shape[0] % clips
  x = jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1))
  return x.reshape(-1, clips, *x.shape[1:])


def _rearrange(x, index, inverse):
  """x[g, index[g, i]], zeros where the index is -1.

  `inverse` undoes `index`, so the gradient is a gather too: no scatter, which
  adds in no fixed order and which TPUs are slow at.
  """
  if not jnp.issubdtype(x.dtype, jnp.floating):
    return _gather(x, index)
  return _differentiable(x, index, inverse)


@jax.custom_vjp
def _differentiable(x, index, inverse):
  del inverse
  return _gather(x, index)


_differentiable.defvjp(
  lambda x, index, inverse: (_gather(x, index), inverse),
  lambda inverse, gradient: (_gather(gradient, inverse), None, None),
)


def _gather(x, index):
  """[G, n, ...] at [G, m] -> [G, m, ...]."""
  used = (index >= 0).reshape(index.shape + (1,) * (x.ndim - 2))
  return jnp.where(used, _take(x, jnp.maximum(index, 0)), 0).astype(x.dtype)


def _take(x, index):
  """x[g, index[g, i]]; [G, n, ...] at [G, m] in [0, n) -> [G, m, ...]."""
  return jax.vmap(lambda x, i: x.at[i].get(mode="promise_in_bounds"))(x, index)
