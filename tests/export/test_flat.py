"""Traced functions as flat lists: the same values, in fewer primitives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

from trajvit.export.equivalents import EQUIVALENTS
from trajvit.export.flat import CALLS, LOOPS, evaluate, flattened
from trajvit.export.rows import ROWS

# Of x [3, 6, 4] floats, places [3, 5] of which some are outside, and updates
# [3, 5, 4]: the primitive that is to go, and what is made of it.
REWRITTEN = {
  "clamp": lambda x, i, u: lax.clamp(-0.5, x, 0.5),
  "copy": lambda x, i, u: jnp.copy(x),
  "cummax": lambda x, i, u: lax.cummax(i, axis=1),
  "cummin": lambda x, i, u: lax.cummin(x, axis=1, reverse=True),
  "gather": lambda x, i, u: (
    x[:, 0],
    x[i],
    x[jnp.arange(3)[:, None], i],
    jax.vmap(lambda x, i: x.at[i].get(mode="fill"))(x, i),
    jax.vmap(lambda x, i: x.at[i].get(mode="clip"))(x, i),
    jnp.take_along_axis(x, i[..., None], axis=1, mode="fill"),
    x[..., i[0] % 4],
    i.at[i].get(mode="fill", fill_value=-3),
    jax.vmap(lambda x, i: lax.dynamic_slice(x, (i[0], 1), (2, 2)))(x, i),
  ),
  "pad": lambda x, i, u: lax.pad(x, 2.0, [(1, -1, 0), (-2, 2, 0), (0, 0, 0)]),
  "reduce_window_max": lambda x, i, u: lax.reduce_window(
    x, -jnp.inf, lax.max, (1, 3, 2), (1, 2, 1), "SAME"
  ),
  "rem": lambda x, i, u: lax.rem(i, 3),
  "scatter": lambda x, i, u: x.at[:, [0, 1]].set(7.0),
  "scatter-add": lambda x, i, u: x.at[jnp.arange(3)[:, None], i].add(u),
  "scatter-max": lambda x, i, u: x.at[0, i[0]].max(u[0], mode="clip"),
  "scatter-min": jax.vmap(lambda x, i, u: x.at[i].min(u)),
  "scatter-mul": lambda x, i, u: x.at[..., i[0] % 4].multiply(u[:, :1, :1]),
  "select_n": lambda x, i, u: jnp.where(i > 2, i > 5, i < 0),
  "stack": lambda x, i, u: jnp.stack([x, -x], axis=1),
  "stop_gradient": lambda x, i, u: lax.stop_gradient(x) + 1,
}
# Unrolled, computed or kept, whichever it is: the same values.
LOOPED = {
  "layers": lambda x, i, u: lax.scan(
    lambda c, row: (c + row.sum(), c * row), 0.0, x
  ),
  "backwards": lambda x, i, u: lax.scan(
    lambda c, row: (c * 0.5 + row, row.sum()), x[0], x, reverse=True
  ),
  "long": lambda x, i, u: lax.fori_loop(0, 99, lambda k, c: c * 0.9 + k, x),
  "several while": jax.vmap(
    lambda x, i, u: lax.while_loop(
      lambda s: s.sum() < 20, lambda s: s + jnp.abs(x), x
    )
  ),
  "branches": lambda x, i, u: lax.switch(
    i[0, 0], [jnp.sin, jnp.cos, jnp.tanh], x
  ),
  "known branch": lambda x, i, u: lax.cond(np.pi > 3, jnp.sin, jnp.cos, x),
  "recomputed": lambda x, i, u: jax.checkpoint(jax.nn.relu)(x),
}


@pytest.fixture
def arrays(rng):
  return (
    rng.standard_normal((3, 6, 4), np.float32),
    rng.integers(-1, 8, (3, 5), np.int32),
    rng.standard_normal((3, 5, 4), np.float32),
  )


def names(jaxpr) -> set[str]:
  return {eqn.primitive.name for eqn in jaxpr.eqns}


def flat(function, arrays, weights=()):
  shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]
  call = lambda weights, *inputs: function(*inputs, *weights)  # noqa: E731
  return flattened(call, weights, shapes)[0]


def check(closed, function, arrays):
  expected = jax.tree.leaves(jax.jit(function)(*arrays))
  found = jax.jit(lambda *inputs: evaluate(closed, *inputs))(*arrays)
  for x, y in zip(expected, found, strict=True):
    assert x.dtype == y.dtype
    np.testing.assert_allclose(x, y, atol=1e-6)


def test_every_equivalent_is_tested():
  assert EQUIVALENTS.keys() - {"copy_p"} == REWRITTEN.keys()


@pytest.mark.parametrize("name", REWRITTEN)
def test_an_equivalent_has_the_same_values(name, arrays):
  function = REWRITTEN[name]
  closed = flat(function, arrays)
  if name not in {"select_n", *ROWS}:  # which become plain ones of their kind
    assert name not in names(closed.jaxpr)
  assert not {*CALLS, *LOOPS} & names(closed.jaxpr)
  check(closed, function, arrays)


@pytest.mark.parametrize("name", LOOPED)
def test_a_loop_has_the_same_values(name, arrays):
  function = LOOPED[name]
  closed = flat(function, arrays)
  left = {"long": {"scan"}, "several while": {"while"}, "branches": {"cond"}}
  assert {*CALLS, *LOOPS} & names(closed.jaxpr) == left.get(name, set())
  check(closed, function, arrays)


def test_a_scatter_keeps_whole_rows(arrays):
  """Of a row that is added nothing is taken apart but the rows."""
  closed = flat(REWRITTEN["scatter-add"], arrays)
  (scatter,) = (
    eqn for eqn in closed.jaxpr.eqns if eqn.primitive is lax.scatter_add_p
  )
  shapes = [x.aval.shape for x in scatter.invars]
  assert shapes == [(1 + 3 * 6, 4), (15, 1), (15, 4)]


def test_what_is_known_is_computed_unless_it_grows(arrays):
  small, large = np.ones((4, 4), np.float32), np.ones((64, 64), np.int8)

  def function(x, i, u, small, large):
    product = small @ small.T + 1
    return x @ product, (large.astype(np.float32) * x[0, 0, 0]).sum()

  closed = flat(function, arrays, (small, large))
  assert [x.dtype for x in closed.consts if np.size(x) == large.size] == [
    "int8"
  ]
  found = names(closed.jaxpr)
  assert "convert_element_type" in found and "transpose" not in found


def test_what_nobody_reads_is_left_out(arrays):
  closed = flat(lambda x, i, u: (jnp.sort(x), jnp.sin(x))[1], arrays)
  assert names(closed.jaxpr) == {"sin"}


def test_bfloat16_becomes_float32(arrays):
  weight = jnp.ones((4, 2), jnp.bfloat16)

  def function(x, i, u, weight):
    y = jnp.einsum("bnd,de->bne", x.astype(jnp.bfloat16), weight)
    return y + jnp.asarray(0.5, jnp.bfloat16)

  closed = flat(function, arrays, (weight,))
  assert {x.dtype for x in closed.out_avals} == {np.dtype(np.float32)}
  assert isinstance(closed, core.ClosedJaxpr)
  assert "bf16" not in str(closed)
  (found,) = evaluate(closed, *arrays)
  expected = np.repeat(arrays[0].sum(-1, keepdims=True), 2, -1) + 0.5
  np.testing.assert_allclose(found, expected, atol=1e-5)
