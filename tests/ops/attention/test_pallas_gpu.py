import contextlib
import functools
from types import SimpleNamespace

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from definition import (
  TOLERANCES,
  draw_cotangents,
  draw_inputs,
  draw_mask,
  logsumexp_error,
  relative_error,
)

from trajvit.ops.attention import (
  AttentionMask,
  attend,
  attention,
  from_pattern,
  pallas_gpu,
  sequence,
)
from trajvit.ops.attention.pattern import Dense
from trajvit.ops.attention.sparse import Options

BATCH, HEADS = 2, 4
kernel = jax.jit(
  functools.partial(attend, implementation="pallas_gpu", interpret=True)
)


@jax.jit
def value_and_gradients(query, key, value, bias, mask, cotangents):
  """(out, logsumexp) and the gradients of query, key, value and bias."""

  def run(query, key, value, bias):
    attended = kernel(query, key, value, bias=bias, mask=mask)
    return attended.out, attended.logsumexp

  outs, pull = jax.vjp(run, query, key, value, bias)
  return outs, pull(cotangents)


@pytest.mark.parametrize(
  "dtype, dim, blocks, biased, lists",
  [
    ("float32", 20, (16, 32), True, dict(batch=2, heads=2)),
    ("float32", 8, (256, 64), False, dict(batch=2, density=1.0)),
    ("bfloat16", 72, (32, 16), True, dict(coordinates_batch=2, heads=4)),
  ],
)
def test_equals_the_definition(rng, dtype, dim, blocks, biased, lists):
  lengths = dict(queries=3 * blocks[0] - 5, keys=3 * blocks[1] - 7)
  query, key, value, bias = draw_inputs(
    rng, BATCH, *lengths.values(), HEADS, dim, dtype
  )
  bias = bias if biased else None
  sizes = dict(zip(("block_query", "block_key"), blocks, strict=True))
  mask = draw_mask(rng, **lengths, **sizes, **lists, segments=3)
  allowed = definition.dense(mask, BATCH, HEADS)
  expected = definition.attention(query, key, value, allowed, bias)
  empty = np.isneginf(expected[1])
  assert empty.any() and not empty.all()

  out_grad, logsumexp_grad = draw_cotangents(
    rng, BATCH, lengths["queries"], HEADS, dim, dtype
  )
  logsumexp_grad = jnp.where(empty, 0, logsumexp_grad)
  (out, logsumexp), grads = value_and_gradients(
    query, key, value, bias, mask, (out_grad, logsumexp_grad)
  )
  expected_grads = definition.gradients(
    query, key, value, allowed, out_grad, logsumexp_grad, bias
  )

  tolerance = TOLERANCES[dtype]
  assert out.dtype == query.dtype
  assert relative_error(out, expected[0]) < tolerance.out
  assert logsumexp_error(logsumexp, expected[1]) < tolerance.logsumexp
  for got, wanted in zip(grads, expected_grads, strict=True):
    if got is not None:
      assert relative_error(got, wanted) < tolerance.gradient
  assert not np.asarray(out)[empty].any()
  assert not np.asarray(grads[0])[empty].any()


def test_tiles_that_are_not_listed_are_never_read(rng):
  query, key, value, _ = draw_inputs(rng, BATCH, 64, 64, HEADS, 16)
  mask = draw_mask(rng, queries=64, keys=64, block_query=16, block_key=16)
  used = definition.dense(mask, BATCH, HEADS).any(2)  # [B, K, Nk]
  used = used.swapaxes(1, 2)[..., None]
  assert not used.all()
  poisoned = [jnp.where(used, x, jnp.nan) for x in (key, value)]
  clean = kernel(query, key, value, mask=mask)
  dirty = kernel(query, *poisoned, mask=mask)
  np.testing.assert_array_equal(clean.out, dirty.out)


def test_large_logits_do_not_overflow(rng):
  query, key, value, _ = draw_inputs(rng, 1, 32, 32, 1, 16)
  query *= 1000
  mask = from_pattern(Dense(), sequence(32), block_query=16, block_key=16)
  attended = kernel(query, key, value, mask=mask)
  allowed = np.ones((1, 1, 32, 32), bool)
  expected = definition.attention(query, key, value, allowed)
  # The logits are some thousands, and float32 has 7 digits.
  assert relative_error(attended.out, expected[0]) < 1e-3
  assert logsumexp_error(attended.logsumexp, expected[1]) < 1e-6


def test_a_bias_of_minus_infinity_removes_a_key(rng):
  query, key, value, bias = draw_inputs(rng, 1, 32, 32, 1, 16)
  hidden = np.arange(32) % 3 == 0
  mask = from_pattern(Dense(), sequence(32), block_query=16, block_key=16)
  cotangents = jnp.ones_like(query), jnp.zeros((1, 32, 1))
  minus = jnp.where(hidden, -jnp.inf, bias)
  (out, _), grads = value_and_gradients(
    query, key, value, minus, mask, cotangents
  )
  allowed = np.broadcast_to(~hidden, (1, 1, 32, 32))
  expected, _ = definition.attention(query, key, value, allowed, bias)
  assert relative_error(out, expected) < TOLERANCES["float32"].out
  for grad in grads[1:]:
    assert not np.asarray(grad)[:, hidden].any()


@pytest.mark.parametrize(
  "changes, reason",
  [
    (dict(tile_max=True), "no tile_max"),
    (dict(skip_below=0.1), "no skip_below"),
    (dict(dtype="int8"), "got int8"),
    (dict(dim=264), "up to 256 channels, got 264"),
    (dict(block_query=48), "blocks of 16, 32, 64, ... tokens, got 48"),
    (dict(block_key=8), "blocks of 16, 32, 64, ... tokens, got 8"),
  ],
)
def test_says_what_it_refuses(changes, reason):
  sizes = dict(block_query=16, block_key=16)
  call = dict(dim=16, scale=1.0) | sizes | changes
  blocks = SimpleNamespace(**{name: call.pop(name) for name in sizes})
  shape = 1, 1, 48, call.pop("dim")
  query = jax.ShapeDtypeStruct(shape, call.pop("dtype", "float32"))
  with pytest.raises(NotImplementedError, match=reason):
    pallas_gpu.check(query, blocks, Options(**call))


def gpu():
  """A context in which the device is known by name, as newer versions ask."""
  if jax.__version_info__ < (0, 11):
    return contextlib.nullcontext()
  device = jax.sharding.AbstractDevice(
    device_kind="NVIDIA H200", num_cores=132, platform="gpu"
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  return jax.sharding.use_abstract_mesh(mesh)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dim", [32, 64, 72, 128])
def test_lowers_for_cuda_where_there_is_none(dtype, dim):
  tokens = jax.ShapeDtypeStruct((2, 300, 2, dim), dtype)
  segments = jax.ShapeDtypeStruct((2, 300), jnp.int32)
  bias = jax.ShapeDtypeStruct((2, 300), jnp.float32)

  def loss(query, key, value, bias, segments):
    blocks = from_pattern(Dense(), sequence(300, segments=segments))
    out = attention(query, key, value, bias=bias, mask=blocks)
    return out.astype(jnp.float32).sum()

  step = jax.jit(jax.grad(loss, (0, 1, 2, 3)))
  with gpu():
    traced = step.trace(tokens, tokens, tokens, bias, segments)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert text.count("custom_call @__gpu$xla.gpu.triton") == 3


def test_padding_and_segments_without_a_block_mask(rng):
  query, key, value, _ = draw_inputs(rng, BATCH, 20, 24, HEADS, 16)
  mask = AttentionMask(
    keys=jnp.asarray(rng.random((BATCH, 24)) < 0.7),
    query_segments=jnp.asarray(rng.integers(0, 3, (BATCH, 20))),
    key_segments=jnp.asarray(rng.integers(0, 2, (BATCH, 24))),
  )
  allowed = np.asarray(mask.allowed())
  attended = kernel(query, key, value, mask=mask)
  expected, _ = definition.attention(query, key, value, allowed)
  assert relative_error(attended.out, expected) < TOLERANCES["float32"].out
