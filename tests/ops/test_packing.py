"""Packing: whole clips, in order, apart; gradients and layouts that do not fit.

The definition is a loop over clips and rows, in NumPy.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops import packing
from trajvit.types import Layout, PackedGroup, Tokens

pack, place, unpack = map(
  jax.jit, (packing.pack, packing.place, packing.unpack)
)
plan = jax.jit(packing.plan, static_argnums=1)
GROUP = PackedGroup(clips=4, rows=2, length=12)
WIDTH = 3


def make_tokens(rng, batch=8, count=7, least=1):
  mask = rng.random((batch, count)) < 0.6
  mask[:, :least] = True  # a class token, say
  return Tokens(
    features=rng.normal(size=(batch, count, WIDTH)).astype(np.float32),
    mask=mask,
    positions=rng.random((batch, count, 3)).astype(np.float32),
    size=rng.random((batch, count)).astype(np.float32),
    protected=np.arange(count) < np.full((batch, 1), least),
  )


def best_fit_loop(counts, clips, rows, length):
  """Row and start of every clip, from the definition."""
  row, start = np.zeros(len(counts), int), np.zeros(len(counts), int)
  for first in range(0, len(counts), clips):
    room = [length] * rows
    group = range(first, min(first + clips, len(counts)))
    for i in sorted(group, key=lambda i: -counts[i]):  # stable
      fitting = [r for r in range(rows) if room[r] >= counts[i]]
      if fitting:
        r = min(fitting, key=lambda r: room[r])
      else:
        r = max(range(rows), key=lambda r: room[r])
      row[i], start[i] = r, length - room[r]
      room[r] = max(room[r] - counts[i], 0)
  return row, start


def packed_loop(tokens, layout):
  """Features [R, L, D] and clips [R, L] of a layout in which nothing meets."""
  groups = -(-len(tokens.mask) // layout.group.clips)
  features = np.zeros((groups * layout.group.rows, layout.group.length, WIDTH))
  clips = np.full(features.shape[:2], -1)
  for i, mask in enumerate(tokens.mask):
    r = i // layout.group.clips * layout.group.rows + int(layout.row[i])
    at = int(layout.start[i])
    for token in tokens.features[i][mask]:
      if at < layout.group.length:
        features[r, at], clips[r, at] = token, i
      at += 1
  return features, clips


@pytest.mark.parametrize("batch", [8, 5, 1])
def test_the_plan_is_best_fit_decreasing(rng, batch):
  for _ in range(20):
    counts = rng.integers(0, 11, batch)
    layout = plan(counts, GROUP)
    row, start = best_fit_loop(counts, 4, 2, 12)
    np.testing.assert_array_equal(layout.row, row)
    np.testing.assert_array_equal(layout.start, start)


@pytest.mark.parametrize("batch", [8, 6, 3])
def test_packing_is_the_loop_and_comes_undone(rng, batch):
  tokens = make_tokens(rng, batch)
  layout = plan(tokens.mask.sum(1), GROUP)
  placement = place(tokens.mask, layout)
  packed = pack(tokens, placement)
  features, clips = packed_loop(tokens, layout)
  np.testing.assert_array_equal(packed.features, features)
  np.testing.assert_array_equal(packed.mask, clips >= 0)
  np.testing.assert_array_equal(packed.segments >= 0, clips >= 0)
  for segments, row in zip(np.asarray(packed.segments), clips, strict=True):
    together = segments[:, None] == segments
    np.testing.assert_array_equal(together, row[:, None] == row)
    assert (np.diff(segments[segments >= 0]) >= 0).all()

  assert placement.overflow == 0
  back = unpack(packed, placement)
  for name in ("mask", "features", "positions", "size", "protected"):
    value = getattr(tokens, name)
    real = tokens.mask.reshape(tokens.mask.shape + (1,) * (value.ndim - 2))
    np.testing.assert_array_equal(getattr(back, name), real * value, name)


def test_segments_of_a_group_are_its_own(rng):
  tokens = make_tokens(rng)
  placement = place(tokens.mask, plan(tokens.mask.sum(1), GROUP))
  halves = [
    place(part, plan(part.sum(1), GROUP)) for part in np.split(tokens.mask, 2)
  ]
  for name in ("source", "slot", "segments"):
    parts = [getattr(half, name) for half in halves]
    np.testing.assert_array_equal(
      getattr(placement, name), np.concatenate(parts)
    )


def test_what_does_not_fit_is_the_end_of_a_clip_and_is_counted(rng):
  tokens = make_tokens(rng)
  tokens = dataclasses.replace(tokens, mask=np.ones_like(tokens.mask))
  layout = plan(tokens.mask.sum(1), PackedGroup(clips=4, rows=2, length=10))
  placement = place(tokens.mask, layout)
  assert placement.overflow == 8 * 7 - 4 * 10
  back = unpack(pack(tokens, placement), placement)
  assert (np.diff(back.mask.astype(int), axis=1) <= 0).all()
  assert back.mask[:, 0].all() and back.protected[:, 0].all()
  assert sorted(back.mask[:4].sum(1)) == [3, 3, 7, 7]


@pytest.mark.parametrize("seed", range(10))
def test_a_layout_that_does_not_fit_loses_tokens_and_mixes_none(seed):
  rng = np.random.default_rng(seed)
  tokens = make_tokens(rng, least=0)
  layout = Layout(
    row=rng.integers(0, 2, 8).astype(np.int32),
    start=rng.integers(0, 13, 8).astype(np.int32),
    group=GROUP,
  )
  placement = place(tokens.mask, layout)
  packed = pack(tokens, placement)
  back = unpack(packed, placement)
  kept = np.asarray(back.mask)
  assert not (kept & ~tokens.mask).any()
  np.testing.assert_array_equal(back.features[kept], tokens.features[kept])
  assert placement.overflow == tokens.mask.sum() - kept.sum()
  assert packed.mask.sum() == kept.sum()
  # No two clips of a group have a segment in common.
  index = np.broadcast_to(np.arange(8)[:, None, None], tokens.features.shape)
  owner = pack(
    dataclasses.replace(tokens, features=index.astype(np.float32)), placement
  ).features[..., 0]
  owners = {}
  for row in range(4):
    for slot in np.flatnonzero(packed.mask[row]):
      key = row // 2, int(packed.segments[row, slot])
      owners.setdefault(key, set()).add(float(owner[row, slot]))
  assert all(len(found) == 1 for found in owners.values())


def test_padding_is_never_read_and_gradients_are_the_transpose(rng):
  tokens = make_tokens(rng)
  layout = plan(
    tokens.mask.sum(1), PackedGroup(clips=4, rows=2, length=8)
  )  # overflows
  placement = place(tokens.mask, layout)
  assert placement.overflow > 0

  def rows(features):
    packed = pack(dataclasses.replace(tokens, features=features), placement)
    return packed.features

  dirty = np.where(tokens.mask[..., None], tokens.features, np.nan)
  out, pull = jax.vjp(rows, dirty)
  np.testing.assert_array_equal(out, rows(tokens.features))
  upstream = rng.normal(size=out.shape).astype(np.float32)
  empty = np.asarray(placement.segments).reshape(out.shape[:2]) < 0
  (grad,) = pull(jnp.where(empty[..., None], jnp.nan, upstream))
  matrix = jax.jacobian(rows)(tokens.features)
  upstream = np.where(empty[..., None], 0, upstream)
  expected = np.tensordot(upstream, np.asarray(matrix), axes=3)
  np.testing.assert_allclose(grad, expected, atol=1e-6)
  text = jax.jit(lambda g: pull(g)).lower(upstream).as_text()
  assert "scatter" not in text


def test_clips_without_a_token_take_no_slot(rng):
  tokens = make_tokens(rng)
  mask = tokens.mask & (np.arange(8) % 2 == 1)[:, None]
  placement = place(mask, plan(mask.sum(1), GROUP))
  assert placement.overflow == 0
  assert (placement.source >= 0).sum() == mask.sum()


def test_errors_say_what_was_expected(rng):
  counts = np.ones(4, np.int32)
  with pytest.raises(ValueError, match="packing.rows must be at least 1, got"):
    PackedGroup(clips=4, rows=0, length=8)
  with pytest.raises(ValueError, match=r"of 8 clips, got rows \(4,\)"):
    place(make_tokens(rng).mask, plan(counts, GROUP))
