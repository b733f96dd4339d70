"""The implementations of attention, as their shared tests run them."""

import dataclasses
import functools
from typing import NamedTuple

import definition
import jax
import numpy as np
import pytest
from definition import TOLERANCES, logsumexp_error, relative_error

from trajvit.ops.attention import BlockMask, attend
from trajvit.ops.attention.sparse import BACKENDS

# Tokens in a block: the least that an implementation takes, so that a few
# blocks are few tokens.
_BLOCKS = {"reference": 8, "xla": 8, "pallas_gpu": 16}


@dataclasses.dataclass(frozen=True)
class Implementation:
  """A name of an implementation, and the block it is tested with."""

  name: str
  block: int

  @property
  def slow(self) -> bool:
    """Whether it runs in an interpreter: such get a part of the cases."""
    return self.name.startswith("pallas")


# All that take a BlockMask.
ALL = [
  pytest.param(Implementation(name, _BLOCKS.get(name, 128)), id=name)
  for name in ("reference", *BACKENDS)
]
every = pytest.mark.parametrize("implementation", ALL)
# Those that return statistics of tiles.
with_statistics = pytest.mark.parametrize(
  "implementation",
  [p for p in ALL if p.values[0].name in ("xla", "pallas_tpu")],
)


@dataclasses.dataclass(frozen=True)
class Case:
  """A call of attention, with the cotangents of what it returns."""

  query: jax.Array
  key: jax.Array
  value: jax.Array
  bias: jax.Array | None
  mask: BlockMask
  out_grad: jax.Array
  logsumexp_grad: jax.Array

  def replace(self, **changes) -> "Case":
    """Returns the case with other arrays."""
    return dataclasses.replace(self, **changes)

  def allowed(self) -> np.ndarray:
    """Returns [B, K, Nq, Nk] bool."""
    return definition.dense(self.mask, self.query.shape[0], self.query.shape[2])


class Result(NamedTuple):
  """What an implementation made of a case, and the gradients of (query, key,
  value, bias)."""

  out: jax.Array
  logsumexp: jax.Array
  gradients: tuple
  tile_max: jax.Array | None
  kept: jax.Array | None


def draw(
  rng,
  block: int,
  *,
  queries: int | None = None,
  keys: int | None = None,
  batch: int = 2,
  heads: int = 2,
  dim: int = 32,
  dtype: str = "float32",
  lists: tuple[int, int] = (1, 1),
  **options,
) -> Case:
  """Returns a random case, of 3 blocks + 1 queries and 2 blocks + 1 keys.

  Args:
    rng: NumPy generator.
    block: tokens in a block.
    queries: Nq.
    keys: Nk.
    batch: B.
    heads: K.
    dim: d.
    dtype: of all but bias and the cotangent of logsumexp.
    lists: (Bm, Hm).
    **options: of `definition.draw_mask`; by default two segments a row.
  """
  queries = 3 * block + 1 if queries is None else queries
  keys = 2 * block + 1 if keys is None else keys
  options = {"segments": 2, "coordinates_batch": batch} | options
  return Case(
    *definition.draw_inputs(rng, batch, queries, keys, heads, dim, dtype),
    definition.draw_mask(
      rng,
      queries=queries,
      keys=keys,
      block_query=block,
      block_key=block,
      batch=lists[0],
      heads=lists[1],
      **options,
    ),
    *definition.draw_cotangents(rng, batch, queries, heads, dim, dtype),
  )


def run(implementation: Implementation, case: Case, **options) -> Result:
  """Returns values and gradients; `options` are those of `attend`."""
  arrays = case.query, case.key, case.value, case.bias
  cotangents = case.out_grad, case.logsumexp_grad
  options = tuple(sorted(options.items()))
  compiled = _compiled(implementation.name, options)
  return Result(*compiled(arrays, case.mask, cotangents))


def check(
  implementation: Implementation, case: Case, widen: float = 1, **options
) -> None:
  """Asserts that all values and gradients are those of the definition.

  Args:
    implementation: what is tested.
    case: what it is called with.
    widen: factor of the tolerances.
    **options: `tile_max` and `skip_below` of `attend`.
  """
  got = run(implementation, case, **options)
  allowed = case.allowed()
  tolerance = TOLERANCES[case.query.dtype.name]
  logits = case.query, case.key
  if "skip_below" in options:
    kept = definition.kept_tiles(
      *logits, case.mask, options["skip_below"], case.bias
    )
    np.testing.assert_array_equal(got.kept, kept)
    allowed = allowed & definition.spread(kept, case.mask)
  if "tile_max" in options:
    block = case.mask.block_query, case.mask.block_key
    tile_max = definition.tile_max(*logits, allowed, block, case.bias)
    assert relative_error(got.tile_max, tile_max) < widen * tolerance.logsumexp
  arrays = *logits, case.value, allowed
  out, logsumexp = definition.attention(*arrays, bias=case.bias)
  seen = np.isfinite(logsumexp)
  gradients = definition.gradients(
    *arrays,
    case.out_grad,
    np.where(seen, case.logsumexp_grad, 0),
    bias=case.bias,
  )
  assert got.out.dtype == case.query.dtype
  assert not np.any(np.asarray(got.out)[~seen])
  assert relative_error(got.out, out) < widen * tolerance.out
  assert logsumexp_error(got.logsumexp, logsumexp) < widen * tolerance.logsumexp
  for name, gradient, expected in zip(
    ("query", "key", "value", "bias"), got.gradients, gradients, strict=True
  ):
    if gradient is not None:
      error = relative_error(gradient, expected)
      assert error < widen * tolerance.gradient, name


@functools.cache
def _compiled(name, options):
  """One program a shape. On a CPU without most of LLVM's passes, which would
  take half of the time of the tests."""

  def values_and_gradients(arrays, mask, cotangents):
    def values(query, key, value, bias):
      attended = attend(
        query,
        key,
        value,
        mask=mask,
        bias=bias,
        implementation=name,
        interpret=True,
        **dict(options),
      )
      statistics = attended.tile_max, attended.kept
      return (attended.out, attended.logsumexp), statistics

    got, pull, statistics = jax.vjp(values, *arrays, has_aux=True)
    return *got, pull(cotangents), *statistics

  compiler_options = {}
  if jax.default_backend() == "cpu":
    compiler_options["xla_backend_optimization_level"] = 0
  return jax.jit(values_and_gradients, compiler_options=compiler_options)
