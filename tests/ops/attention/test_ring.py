"""A ring of devices equals one device, and holds its share of memory only."""

import dataclasses
import re

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices import (
  on_eight_devices,
  run_on_eight_devices,
  starts_eight_devices,
)
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from trajvit.compat import make_mesh
from trajvit.ops.attention import attend, from_classes, sequence, xla
from trajvit.ops.attention.devices.assignment import (
  rearrange,
  token_order,
  zigzag,
)
from trajvit.ops.attention.devices.ring import in_ring, ring_attention
from trajvit.ops.attention.pattern import EMPTY, PARTIAL, Dense
from trajvit.ops.attention.sparse import BACKENDS, Options

TOLERANCE = definition.TOLERANCES["float32"]
BATCH, HEADS, DIM, BLOCK = 2, 2, 8, 8
LAYOUT = P("data", "context", "tensor")


@pytest.mark.slow
@starts_eight_devices
def test_on_eight_devices():
  run_on_eight_devices(__file__)


def tiles_mask(allowed):
  """A BlockMask of the tiles where `allowed` [nq, nk], whole ones."""
  places = sequence(len(allowed) * BLOCK)
  return from_classes(
    jnp.asarray(np.where(allowed, PARTIAL, EMPTY))[None, None],
    places,
    places,
    pattern=Dense(),
    block_query=BLOCK,
    block_key=BLOCK,
  )


def mask_of(rng, name, blocks):
  place = np.arange(blocks)
  if name == "dense":
    return tiles_mask(np.ones((blocks, blocks), bool))
  if name == "causal":
    return tiles_mask(place[:, None] >= place)
  if name == "window":
    return tiles_mask(np.abs(place[:, None] - place) <= 1)
  per_clip, per_head = {"random": (1, 2), "segments": (2, 1)}[name]
  return definition.draw_mask(
    rng,
    queries=blocks * BLOCK,
    keys=blocks * BLOCK,
    batch=per_clip,
    heads=per_head,
    segments=3 if name == "segments" else 0,
    density=0.4,
  )


def inputs(rng, tokens):
  arrays = definition.draw_inputs(rng, BATCH, tokens, tokens, HEADS, DIM)
  return arrays, definition.draw_cotangents(rng, BATCH, tokens, HEADS, DIM)


def with_gradients(mask, arrays, cotangents):
  """(out, logsumexp) and the gradients of query, key, value and bias."""

  def run(query, key, value, bias):
    found = attend(
      query, key, value, mask=mask, bias=bias, implementation="xla"
    )
    return found.out, found.logsumexp

  found, pull = jax.vjp(run, *arrays)
  return found, pull(cotangents)


def on_ring(mesh, mask, arrays, cotangents):
  """The program of `with_gradients` and what it returns."""
  names = set(mesh.axis_names)
  layout = P(*(name if name in names else None for name in LAYOUT))

  def place(x):
    spec = layout if x.ndim > 2 else P(*layout[:2])
    return jax.device_put(x, NamedSharding(mesh, spec))

  arrays, cotangents = jax.tree.map(place, (arrays, cotangents))
  with jax.set_mesh(mesh):
    assert in_ring(mask)
    program = jax.jit(with_gradients).lower(mask, arrays, cotangents).compile()
  return program, program(mask, arrays, cotangents)


def assert_is_attention(found, mask, arrays, cotangents):
  """Compares with the definition in float64."""
  (out, logsumexp), grads = found
  query, key, value, bias = arrays
  allowed = definition.dense(mask, BATCH, HEADS)
  expected = definition.attention(query, key, value, allowed, bias)
  assert definition.relative_error(out, expected[0]) < TOLERANCE.out
  error = definition.logsumexp_error(logsumexp, expected[1])
  assert error < TOLERANCE.logsumexp
  expected = definition.gradients(
    query, key, value, allowed, *cotangents, bias=bias
  )
  for got, want in zip(grads, expected, strict=True):
    assert definition.relative_error(got, want) < TOLERANCE.gradient


@on_eight_devices
@pytest.mark.parametrize(
  ("name", "sizes"),
  [
    ("dense", {"context": 8}),
    ("causal", {"data": 2, "context": 4}),
    ("window", {"context": 8}),
    ("random", {"data": 2, "tensor": 2, "context": 2}),
    ("segments", {"data": 2, "context": 4}),
  ],
)
def test_a_ring_equals_the_definition(rng, name, sizes):
  mesh = make_mesh(tuple(sizes.values()), tuple(sizes))
  mask = mask_of(rng, name, blocks=8)
  arrays, cotangents = inputs(rng, tokens=8 * BLOCK)
  _, found = on_ring(mesh, mask, arrays, cotangents)
  assert_is_attention(found, mask, arrays, cotangents)
  if name in ("random", "segments"):  # some queries may read nothing
    assert np.isneginf(found[0][1]).any()


@on_eight_devices
def test_tokens_in_another_order_come_out_in_that_order(rng):
  mesh = make_mesh((2, 4), ("data", "context"))
  mask = mask_of(rng, "causal", blocks=8)
  arrays, cotangents = inputs(rng, tokens=8 * BLOCK)
  assignment = zigzag(8, 4)
  order = token_order(assignment, 8 * BLOCK)
  moved = jax.tree.map(lambda x: x[:, order], (arrays, cotangents))
  _, found = on_ring(mesh, rearrange(mask, assignment), *moved)
  back = jax.tree.map(lambda x: x[:, np.argsort(order)], found)
  assert_is_attention(back, mask, arrays, cotangents)


@on_eight_devices
def test_a_device_holds_its_share_only(rng):
  """No array of a device's program is as large as all keys, or N x N."""
  mesh = make_mesh((8,), ("context",))
  tokens, block = 1024, 16
  place = np.arange(tokens // block)
  near = np.abs(place[:, None] - place) <= 1
  coordinates = sequence(tokens)
  mask = from_classes(
    jnp.asarray(np.where(near, PARTIAL, EMPTY))[None, None],
    coordinates,
    coordinates,
    pattern=Dense(),
    block_query=block,
    block_key=block,
  )
  arrays, cotangents = inputs(rng, tokens)
  program, found = on_ring(mesh, mask, arrays, cotangents)
  assert_is_attention(found, mask, arrays, cotangents)
  text = program.as_text()
  assert "collective-permute" in text
  assert "all-gather" not in text and "all-to-all" not in text
  largest = max(
    np.prod([int(n) for n in dims.split(",")])
    for dims in re.findall(r"f32\[([\d,]+)\]", text)
  )
  assert largest < arrays[1].size  # all keys, of all heads and clips
  assert largest < tokens * tokens // 8


@on_eight_devices
def test_turns_without_tiles_compute_nothing(rng, monkeypatch):
  """The backend runs once for each pair of devices that share a tile."""
  mesh = make_mesh((8,), ("context",))
  place = np.arange(8)
  near = (place[:, None] - place) % 8 <= 1
  mask = tiles_mask(near)
  (query, key, value, bias), _ = inputs(rng, tokens=8 * BLOCK)
  calls = []

  def counted(*arguments):
    jax.debug.callback(lambda: calls.append(1))
    return xla.forward(*arguments)

  backend = dataclasses.replace(BACKENDS["xla"], forward=counted)
  monkeypatch.setitem(BACKENDS, "counted", backend)

  def run(*arrays):
    return ring_attention(
      *arrays, mask, bias, options=Options(1.0), backend="counted"
    ).out

  with jax.set_mesh(mesh):
    jax.jit(run)(query, key, value).block_until_ready()
  jax.effects_barrier()
  assert len(calls) == near.sum() == 16


@on_eight_devices
def test_what_a_ring_cannot_do_is_refused_or_copied(rng):
  mesh = make_mesh((8,), ("context",))
  arrays, _ = inputs(rng, tokens=60)
  mask = definition.draw_mask(rng, queries=60, keys=60)
  query, key, value, bias = arrays

  def ring(mask, **options):
    options = Options(1.0, **options)
    return ring_attention(
      query, key, value, mask, bias, options=options, backend="xla"
    )

  with jax.set_mesh(mesh):
    assert not in_ring(mask)
    got = jax.jit(lambda *x: attend(*x, mask=mask))(query, key, value)
    with pytest.raises(ValueError, match="equally many on each of 8 devices"):
      ring(mask)
    query, key, value, bias = inputs(rng, tokens=64)[0]
    with pytest.raises(NotImplementedError, match="statistics"):
      ring(mask_of(rng, "dense", blocks=8), tile_max=True)
  expected = attend(*arrays[:3], mask=mask)
  assert definition.relative_error(got.out, expected.out) < 1e-6


def test_a_ring_needs_a_mesh(rng):
  mask = definition.draw_mask(rng, queries=16, keys=16)
  query, key, value, bias = inputs(rng, tokens=16)[0]
  assert not in_ring(mask)
  with pytest.raises(ValueError, match="axis 'context'.*got {}"):
    ring_attention(
      query, key, value, mask, bias, options=Options(1.0), backend="xla"
    )
