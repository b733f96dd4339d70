"""The TPU kernels in the interpreter, and lowered for TPU without compiling."""

import functools

import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu

from trajvit.ops.attention import attend, from_pattern, sequence
from trajvit.ops.attention.pallas_tpu import vmem
from trajvit.ops.attention.pattern import EMPTY, Dense

BUDGETS = {"resident": vmem.BUDGET, "streaming": 0}
kernels = functools.partial(attend, implementation="pallas_tpu", interpret=True)


@pytest.fixture
def budget(variant):
  with vmem.budget(BUDGETS[variant]):
    yield


def draw(rng, *, dim=32, dtype="float32", inputs_heads=2, **mask):
  """A BlockMask for 2 clips, inputs with a bias, and cotangents."""
  blocks = dict(block_query=128, block_key=128)
  blocks = definition.draw_mask(rng, **(blocks | mask))
  queries, keys = blocks.query_length, blocks.key_length
  sizes = inputs_heads, dim, dtype
  inputs = definition.draw_inputs(rng, 2, queries, keys, *sizes)
  cotangents = definition.draw_cotangents(rng, 2, queries, *sizes)
  return blocks, inputs, cotangents


def check_against_definition(blocks, inputs, cotangents, **options):
  """Values and all gradients, logsumexp having one too."""
  *qkv, bias = inputs
  tolerance = definition.TOLERANCES[str(qkv[0].dtype)]

  def run(query, key, value, bias):
    got = kernels(query, key, value, mask=blocks, bias=bias, **options)
    return got.out, got.logsumexp

  (out, logsumexp), pull = jax.vjp(run, *inputs)
  allowed = definition.dense(blocks, 2, qkv[0].shape[2])
  expected = definition.attention(*qkv, allowed, bias)
  assert definition.relative_error(out, expected[0]) < tolerance.out
  error = definition.logsumexp_error(logsumexp, expected[1])
  assert error < tolerance.logsumexp
  gradients = definition.gradients(*qkv, allowed, *cotangents, bias)
  for got, expected in zip(pull(cotangents), gradients, strict=True):
    assert definition.relative_error(got, expected) < tolerance.gradient


CASES = {
  # Rows of ten tiles: groups of four, and some that are left over.
  "long rows": dict(queries=256, keys=1300, density=1.0, heads=2, batch=2),
  "half precision": dict(queries=200, keys=300, dtype="bfloat16", dim=72),
  "heads in pairs": dict(queries=130, keys=200, heads=2, inputs_heads=4),
  "clips differ": dict(queries=130, keys=260, coordinates_batch=2, segments=2),
  "wide blocks": dict(queries=300, keys=300, block_query=256, segments=2),
}


@pytest.mark.parametrize(
  "variant, case",
  [
    ("resident", "long rows"),
    pytest.param("streaming", "long rows", marks=pytest.mark.slow),
    pytest.param("resident", "wide blocks", marks=pytest.mark.slow),
    pytest.param("streaming", "half precision", marks=pytest.mark.slow),
    pytest.param("resident", "heads in pairs", marks=pytest.mark.slow),
    pytest.param("streaming", "clips differ", marks=pytest.mark.slow),
  ],
)
def test_values_and_gradients_equal_the_definition(rng, budget, case):
  check_against_definition(*draw(rng, **CASES[case]))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["resident"])
def test_without_bias_is_a_bias_of_zero(rng, budget):
  blocks, (*qkv, bias), (out_grad, _) = draw(rng, queries=200, keys=200)

  def run(query, key, value, bias):
    return kernels(query, key, value, mask=blocks, bias=bias).out

  out, pull = jax.vjp(functools.partial(run, bias=None), *qkv)
  expected, pull_biased = jax.vjp(run, *qkv, jnp.zeros_like(bias))
  np.testing.assert_array_equal(out, expected)
  pairs = zip(pull(out_grad), pull_biased(out_grad)[:3], strict=True)
  for got, expected in pairs:
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("variant", ["resident"])
def test_statistics_of_tiles(rng, budget):
  blocks, (*qkv, bias), _ = draw(rng, queries=300, keys=700, heads=2)
  got = kernels(*qkv, mask=blocks, bias=bias, tile_max=True)
  allowed = definition.dense(blocks, 2, 2)
  sizes = blocks.block_query, blocks.block_key
  expected = definition.tile_max(*qkv[:2], allowed, sizes, bias)
  np.testing.assert_allclose(got.tile_max, expected, atol=1e-6)
  assert got.kept is None


@pytest.mark.parametrize("variant", ["streaming"])
def test_skipping_keeps_the_tiles_of_the_definition(rng, budget):
  blocks, (*qkv, bias), cotangents = draw(rng, queries=256, keys=900)
  bias = bias + 8 * jnp.sin(jnp.arange(900) // 128)  # some tiles are far below

  def run(query, key, value):
    got = kernels(
      query,
      key,
      value,
      mask=blocks,
      bias=bias,
      skip_below=0.1,
      tile_max=True,
    )
    return (got.out, got.logsumexp), got

  (out, logsumexp), pull, got = jax.vjp(run, *qkv, has_aux=True)
  kept = definition.kept_tiles(*qkv[:2], blocks, 0.1, bias)
  assert 0 < kept.sum() < 2 * 2 * (np.asarray(blocks.classes) != EMPTY).sum()
  np.testing.assert_array_equal(got.kept, kept)
  allowed = definition.dense(blocks, 2, 2) & definition.spread(kept, blocks)
  expected = definition.attention(*qkv, allowed, bias)
  assert definition.relative_error(out, expected[0]) < 2e-6
  assert definition.logsumexp_error(logsumexp, expected[1]) < 2e-6
  expected = definition.tile_max(*qkv[:2], allowed, (128, 128), bias)
  np.testing.assert_allclose(got.tile_max, expected, atol=1e-6)
  expected = definition.gradients(*qkv, allowed, *cotangents, bias)[:3]
  for each, right in zip(pull(cotangents), expected, strict=True):
    assert definition.relative_error(each, right) < 4e-6


@pytest.mark.parametrize("variant", ["resident"])
def test_tiles_that_are_not_listed_may_hold_anything(rng, budget):
  blocks, (query, key, value, _), (out_grad, _) = draw(
    rng, queries=300, keys=500
  )
  unread = ~definition.dense(blocks, 2, 2).any((1, 2))[0]  # [Nk]
  blank = np.asarray(blocks.classes == EMPTY).all((0, 1, 2)).repeat(128)[:500]
  assert blank.any() and (unread | ~blank).all()
  poison = jnp.where(blank[:, None, None], jnp.nan, 0)

  def run(query, key, value):
    return kernels(query, key, value, mask=blocks).out

  out, pull = jax.vjp(run, query, key + poison, value + poison)
  expected, pull_clean = jax.vjp(run, query, key, value)
  np.testing.assert_array_equal(out, expected)
  for got, clean in zip(pull(out_grad), pull_clean(out_grad), strict=True):
    np.testing.assert_array_equal(got, clean)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["streaming"])
def test_copies_arrive_before_they_are_read(rng, budget, capfd):
  """In the interpreter of TPU memory: NaN in all that was not written, copies
  that arrive as late as they may, and a watch for races."""
  drawn = draw(rng, queries=128, keys=640, density=1.0)
  interpret = pltpu.InterpretParams(detect_races=True)
  check_against_definition(*drawn, interpret=interpret)
  assert "RACE" not in capfd.readouterr().out.upper()


def shapes(length, dim, batch=1, heads=1):
  return [jax.ShapeDtypeStruct((batch, length, heads, dim), "bfloat16")] * 3


def lowered(length, dim):
  """The text of a step lowered for TPU, which needs no compiler for it."""

  def loss(query, key, value):
    blocks = from_pattern(Dense(), sequence(length), block_query=256)
    out = attend(query, key, value, mask=blocks, implementation="pallas_tpu")
    return out.out.astype(jnp.float32).sum()

  step = jax.jit(jax.grad(loss, (0, 1, 2)))
  return step.trace(*shapes(length, dim)).lower(lowering_platforms=("tpu",))


@pytest.mark.parametrize(
  "length, variant", [(1024, "resident"), (131072, "streaming")]
)
def test_lowers_for_tpu_and_streams_what_does_not_fit(length, variant):
  text = lowered(length, 64).as_text()
  assert text.count("tpu_custom_call") == 3
  for kernel in ("forward", "query_gradient", "key_gradients"):
    assert f"attention_{kernel}_{variant}" in text


def test_refuses_what_registers_do_not_hold(rng):
  blocks, (*qkv, _), _ = draw(rng, queries=20, keys=20, block_query=64)
  with pytest.raises(NotImplementedError, match=r"128 tokens, got \(64, 128\)"):
    kernels(*qkv, mask=blocks)
  blocks, (*qkv, _), _ = draw(rng, queries=20, keys=20, dtype="float16")
  with pytest.raises(NotImplementedError, match="got float16"):
    kernels(*qkv, mask=blocks)
