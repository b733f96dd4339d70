"""Attention under a mesh equals attention on one device, and sends nothing."""

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
from trajvit.ops.attention import AttentionMask, attend
from trajvit.ops.attention.devices.sharded import Layout, over_mesh

COMMUNICATION = "all-gather|all-to-all|collective-permute|all-reduce"
TOKENS = P(("data", "fsdp"), None, "tensor")


@pytest.mark.slow
@starts_eight_devices
def test_on_eight_devices():
  run_on_eight_devices(__file__)


def inputs(rng, batch=4, tokens=40, heads=4):
  *arrays, bias = definition.draw_inputs(rng, batch, tokens, tokens, heads, 8)
  cotangents = definition.draw_cotangents(rng, batch, tokens, heads, 8)
  return *arrays, bias, cotangents


def with_gradients(query, key, value, bias, mask, cotangents, **options):
  """(out, logsumexp) and the gradients of the first four."""

  def run(*arrays):
    *tokens, bias = arrays
    found = attend(
      *tokens, mask=mask, bias=bias, implementation="xla", **options
    )
    return found.out, found.logsumexp

  found, pull = jax.vjp(run, query, key, value, bias)
  return found, pull(cotangents)


def expected_of(query, key, value, bias, mask, cotangents):
  """The same by the definition."""
  batch, tokens, heads, _ = query.shape
  if isinstance(mask, AttentionMask):
    shape = batch, heads, tokens, tokens
    allowed = np.broadcast_to(mask.allowed(), shape)
  else:
    allowed = definition.dense(mask, batch, heads)
  found = definition.attention(query, key, value, allowed, bias)
  grads = definition.gradients(
    query, key, value, allowed, *cotangents, bias=bias
  )
  return found, grads


def compiled_on(mesh, query, key, value, bias, mask, cotangents):
  """The program of `with_gradients`, its inputs lying as a trainer's would."""
  specs = *[TOKENS] * 3, P(("data", "fsdp")), P(), TOKENS
  arrays = query, key, value, bias, mask, cotangents
  placed = [
    jax.device_put(x, NamedSharding(mesh, cut(spec, x)))
    for x, spec in zip(arrays, specs, strict=True)
  ]
  with jax.set_mesh(mesh):
    program = jax.jit(with_gradients).lower(*placed).compile()
  return program, program(*placed)


def cut(spec, x):
  """The layout, or copies where the batch is odd."""
  odd = jax.tree.leaves(x)[0].shape[0] % 4 if spec != P() else 0
  return P() if odd else spec


def assert_close(got, expected):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    finite = np.isfinite(y)
    np.testing.assert_array_equal(np.isfinite(x), finite)
    x, y = np.where(finite, x, 0), np.where(finite, y, 0)
    np.testing.assert_allclose(x, y, atol=2e-5, rtol=2e-5)


LISTS = {  # Bm, Hm, batch of the coordinates
  "shared": (1, 1, 1),
  "per clip and head": (4, 4, 4),
  "per group of heads": (1, 2, 4),
}


@on_eight_devices
@pytest.mark.parametrize(
  ("lists", "axes"),
  [
    ("shared", (4, 1, 2)),
    ("per clip and head", (2, 2, 2)),
    ("per group of heads", (1, 2, 4)),
  ],
)
def test_a_mesh_equals_one_device(rng, axes, lists):
  mesh = make_mesh(axes, ("data", "fsdp", "tensor"))
  batch, heads, rows = LISTS[lists]
  *arrays, cotangents = inputs(rng)
  mask = definition.draw_mask(
    rng,
    queries=40,
    keys=40,
    batch=batch,
    heads=heads,
    coordinates_batch=rows,
    segments=2,
  )
  expected = expected_of(*arrays, mask, cotangents)
  program, got = compiled_on(mesh, *arrays, mask, cotangents)
  assert_close(got, expected)
  assert np.isneginf(expected[0][1]).any()  # some query may read nothing


@on_eight_devices
@pytest.mark.parametrize("kind", ["lists", "segments"])
def test_clips_and_heads_are_attended_to_where_they_are(rng, kind):
  mesh = make_mesh((2, 2, 2), ("data", "fsdp", "tensor"))
  *arrays, cotangents = inputs(rng)
  if kind == "lists":
    mask = definition.draw_mask(rng, queries=40, keys=40, heads=4)
  else:
    segments = jnp.asarray(np.sort(rng.integers(0, 3, (4, 40)), axis=1))
    mask = AttentionMask(segments >= 0, segments, segments)
  expected = expected_of(*arrays, mask, cotangents)
  program, got = compiled_on(mesh, *arrays, mask, cotangents)
  assert_close(got, expected)
  sent = sent_between_devices(program.as_text())
  assert sent == [("all-reduce", (1, 40))]  # the bias's gradient, over heads
  for x, spec in ((got[0][0], TOKENS), (got[1][1], TOKENS)):
    assert x.sharding.is_equivalent_to(NamedSharding(mesh, spec), x.ndim)


def sent_between_devices(text):
  """[(operation, shape), ...] of a compiled program's communication."""
  found = re.findall(
    rf"= \w+\[([\d,]*)\]\S* ({COMMUNICATION})(?:-start)?\(", text
  )
  return [(name, tuple(map(int, dims.split(",")))) for dims, name in found]


@on_eight_devices
def test_an_odd_batch_is_computed_everywhere(rng):
  mesh = make_mesh((4, 1, 2), ("data", "fsdp", "tensor"))
  *arrays, cotangents = inputs(rng, batch=3)
  mask = definition.draw_mask(rng, queries=40, keys=40, batch=3)
  expected = expected_of(*arrays, mask, cotangents)
  _, got = compiled_on(mesh, *arrays, mask, cotangents)
  assert_close(got, expected)


@on_eight_devices
@pytest.mark.parametrize("masked", [False, True])
def test_queries_are_cut_and_keys_are_not(rng, masked):
  mesh = make_mesh((2, 2, 2), ("data", "tensor", "context"))
  *arrays, cotangents = inputs(rng)
  segments = jnp.asarray(np.sort(rng.integers(-1, 3, (4, 40)), axis=1))
  mask = AttentionMask()
  if masked:
    mask = AttentionMask(segments >= 0, segments, segments)
  shapes = set()

  def run(*arrays):
    def local(query, key, value, mask, bias):
      shapes.add((query.shape, key.shape))
      found = attend(
        query, key, value, mask=mask, bias=bias, implementation="reference"
      )
      return dataclasses.replace(found, logsumexp=None)

    *tokens, bias = arrays
    return over_mesh(local, *tokens, mask, bias, cut_queries=True).out

  def whole(*arrays):
    *tokens, bias = arrays
    return attend(*tokens, mask=mask, bias=bias, implementation="reference").out

  def with_gradients(run):
    def both(*arrays):
      out, pull = jax.vjp(run, *arrays)
      return out, pull(cotangents[0])

    return jax.jit(both)

  with jax.set_mesh(mesh):
    got = with_gradients(run)(*arrays)
  assert_close(got, with_gradients(whole)(*arrays))
  assert shapes == {((2, 20, 2, 8), (2, 40, 2, 8))}


@on_eight_devices
def test_inside_shard_map_the_call_is_left_alone(rng):
  mesh = make_mesh((8,), ("data",))
  query, key, value, bias, _ = inputs(rng, batch=8)
  mask = definition.draw_mask(rng, queries=40, keys=40)
  shapes = []

  def run(query, key, value, bias):
    def spy(*arguments):
      shapes.append(arguments[0].shape)
      return attend(*arguments[:3], mask=arguments[3], bias=arguments[4])

    return over_mesh(spy, query, key, value, mask, bias).out

  with jax.set_mesh(mesh):
    mapped = jax.jit(
      jax.shard_map(run, in_specs=P("data"), out_specs=P("data"))
    )
    got = mapped(query, key, value, bias)
  allowed = definition.dense(mask, 8, 4)
  expected, _ = definition.attention(query, key, value, allowed, bias)
  np.testing.assert_allclose(got, expected, atol=2e-5)
  assert set(shapes) == {(1, 40, 4, 8)}


@on_eight_devices
def test_statistics_come_back_whole(rng):
  mesh = make_mesh((2, 2, 2), ("data", "fsdp", "tensor"))
  query, key, value, bias, _ = inputs(rng)
  mask = definition.draw_mask(rng, queries=40, keys=40, heads=2)

  def run(*arrays):
    return attend(*arrays, mask=mask, tile_max=True, skip_below=1e-3)

  with jax.set_mesh(mesh):
    got = jax.jit(run)(query, key, value)
  kept = definition.kept_tiles(query, key, mask, 1e-3)
  np.testing.assert_array_equal(got.kept, kept)
  allowed = definition.dense(mask, 4, 4) & definition.spread(kept, mask)
  expected = definition.tile_max(query, key, allowed, (8, 8))
  np.testing.assert_allclose(got.tile_max, expected, atol=2e-5)


def test_lists_of_a_group_of_heads_are_repeated_until_none_is_cut(rng):
  mask = definition.draw_mask(rng, queries=40, keys=40, heads=2)
  for devices, lists in ((1, 2), (2, 2), (4, 4), (3, 6)):
    layout = Layout.of({"tensor": devices}, (4, 40, 12, 8))
    wide = layout.with_lists(mask)
    assert wide.classes.shape[1] == lists
    np.testing.assert_array_equal(
      definition.dense(wide, 4, 12), definition.dense(mask, 4, 12)
    )


def test_heads_that_do_not_divide_are_refused():
  with pytest.raises(ValueError, match="multiple of the 4 devices.*got 6"):
    Layout.of({"data": 2, "tensor": 4}, (4, 40, 6, 8))
