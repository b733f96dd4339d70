"""FLOP counts against hand computed ones, unrolled loops and XLA's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas as pl
from jax.sharding import PartitionSpec

from trajvit.compat import make_mesh
from trajvit.evaluators.flops import (
  FlopCount,
  count_flops,
  count_jaxpr,
  used_arguments,
)


def array(*shape):
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def dense(x, w):
  return jnp.tanh(x @ w)


X, W = array(5, 8), array(8, 8)
DENSE = 2 * 5 * 8 * 8


@pytest.mark.parametrize(
  "spec, shapes, expected",
  [
    ("ab,bc->ac", [(3, 5), (5, 7)], 2 * 3 * 5 * 7),
    ("a,a->", [(11,), (11,)], 2 * 11),
    ("bnkd,bmkd->bknm", [(2, 3, 4, 5), (2, 6, 4, 5)], 2 * 2 * 4 * 3 * 6 * 5),
    ("abcd,cde->abe", [(2, 3, 4, 5), (4, 5, 6)], 2 * 2 * 3 * 4 * 5 * 6),
    ("ab,bc->ac", [(0, 5), (5, 7)], 0),
  ],
)
def test_dots(spec, shapes, expected):
  def f(*operands):
    return jnp.einsum(spec, *operands)

  args = [array(*shape) for shape in shapes]
  assert count_flops(f, *args) == FlopCount(dots=expected)
  assert count_flops(jax.jit(f), *args).total == expected


def conv(x, w, **options):
  options = dict(window_strides=(1, 1), padding="VALID") | options
  numbers = ("NHWC", "HWIO", "NHWC")
  return jax.lax.conv_general_dilated(
    x, w, dimension_numbers=numbers, **options
  )


@pytest.mark.parametrize(
  "x, w, options, products",
  [
    ((2, 9, 8, 3), (3, 3, 3, 5), {}, 2 * 7 * 6 * 5 * 9 * 3),
    (
      (2, 9, 8, 3),
      (4, 4, 3, 5),
      dict(window_strides=(4, 4)),
      2 * 2 * 2 * 5 * 16 * 3,
    ),
    (
      (2, 9, 9, 3),
      (3, 3, 3, 5),
      dict(window_strides=(2, 2), padding="SAME"),
      2 * 5 * 5 * 5 * 9 * 3,
    ),
    (
      (2, 9, 8, 6),
      (3, 3, 2, 12),
      dict(feature_group_count=3),
      2 * 7 * 6 * 12 * 9 * 2,
    ),
    (
      (6, 9, 8, 2),
      (3, 3, 2, 12),
      dict(batch_group_count=3),
      2 * 7 * 6 * 12 * 9 * 2,
    ),
    (
      (1, 9, 9, 2),
      (3, 3, 2, 4),
      dict(rhs_dilation=(2, 2)),
      5 * 5 * 4 * 9 * 2,
    ),
  ],
)
def test_convs(x, w, options, products):
  count = count_flops(lambda x, w: conv(x, w, **options), array(*x), array(*w))
  assert count == FlopCount(convs=2 * products)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_convs_without_padding_equal_xla(stride):
  def f(x, w):
    return conv(x, w, window_strides=(stride, stride))

  args = array(2, 16, 16, 3), array(4, 4, 3, 5)
  analysis = jax.jit(f).lower(*args).compile().cost_analysis()
  assert count_flops(f, *args).total == analysis["flops"]


def test_gradients_of_a_patch_stem_cost_what_it_costs():
  """The gradient to the pixels is a convolution full of holes."""

  def stem(x, w):
    return conv(x, w, window_strides=(4, 4))

  args = array(2, 16, 16, 3), array(4, 4, 3, 5)
  forward = count_flops(stem, *args).total

  def gradient(argument):
    def f(x, w, g):
      return jax.vjp(stem, x, w)[1](g)[argument]

    return count_flops(f, *args, array(2, 4, 4, 5)).total

  assert gradient(0) == gradient(1) == forward


def looped(x, weights):
  for w in weights:
    x = dense(x, w)
  return x.sum()


def scanned(x, weights, body=dense):
  return jax.lax.scan(lambda x, w: (body(x, w), None), x, weights)[0].sum()


def test_scan_equals_the_unrolled_loop():
  args = X, array(7, 8, 8)
  assert count_flops(scanned, *args) == FlopCount(dots=7 * DENSE)
  assert count_flops(looped, *args) == FlopCount(dots=7 * DENSE)


def test_xla_counts_a_scan_body_once():
  """The reason for this module; when it fails, ask XLA instead."""
  compiled = jax.jit(scanned).lower(X, array(50, 8, 8)).compile()
  assert compiled.cost_analysis()["flops"] < 5 * DENSE


def test_grad_of_scan_equals_the_unrolled_loop():
  args = X, array(7, 8, 8)
  for argnums in (0, 1, (0, 1)):
    loop, scan = (
      count_flops(jax.grad(f, argnums), *args) for f in (looped, scanned)
    )
    assert scan.total >= loop.total
    assert scan.total - loop.total in (0, DENSE)  # the first step's input
  assert count_flops(jax.grad(scanned, (0, 1)), *args).total == 21 * DENSE


def test_remat_counts_what_is_computed_again():
  def f(x, weights):
    return scanned(x, weights, jax.checkpoint(dense))

  args = X, array(7, 8, 8)
  assert count_flops(f, *args).total == 7 * DENSE
  assert count_flops(jax.grad(f, (0, 1)), *args).total == 28 * DENSE


def test_nested_scans_multiply():
  def f(x, w):
    def body(x, _):
      return jax.lax.fori_loop(0, 3, lambda _, x: dense(x, w), x), None

    return jax.lax.scan(body, x, None, length=4)[0]

  assert count_flops(f, X, W) == FlopCount(dots=12 * DENSE)


def test_vmap_multiplies():
  f = jax.vmap(scanned, (0, None))
  count = count_flops(f, array(6, 5, 8), array(7, 8, 8))
  assert count == FlopCount(dots=6 * 7 * DENSE)


def test_cond_is_its_dearest_branch():
  def f(x, w):
    return jax.lax.switch(
      x[0, 0].astype(int),
      [lambda: x, lambda: dense(dense(x, w), w), lambda: dense(x, w)],
    )

  assert count_flops(f, X, W) == FlopCount(dots=2 * DENSE)


def test_a_choice_by_platform_is_the_branch_taken():
  def choose(**branches):
    def f(x, w):
      default = branches["default"]
      others = {k: v for k, v in branches.items() if k != "default"}
      return jax.lax.platform_dependent(x, w, default=default, **others)

    return count_flops(f, X, W).total

  def twice(x, w):
    return dense(dense(x, w), w)

  here = {jax.default_backend(): dense}
  if jax.default_backend() == "gpu":
    here = {"cuda": dense}
  assert choose(**here, default=twice) == DENSE
  assert choose(some_other_chip=twice, default=dense) == DENSE


def test_a_choice_can_be_for_another_platform():
  def f(x, w):
    return jax.lax.platform_dependent(
      x, w, tpu=lambda x, w: dense(dense(x, w), w), default=dense
    )

  jaxpr = jax.make_jaxpr(f)(X, W).jaxpr
  assert count_jaxpr(jaxpr, "tpu").total == 2 * DENSE
  assert count_jaxpr(jaxpr, "cuda").total == DENSE


def test_while_is_one_trip_and_reported():
  def f(x, w):
    return jax.lax.while_loop(
      lambda x: x.sum() < 3, lambda x: dense(dense(x, w), w), x
    )

  def idle(x):
    return jax.lax.while_loop(lambda x: x.sum() < 3, lambda x: x + 1, x)

  assert count_flops(f, X, W) == FlopCount(dots=2 * DENSE, unbounded_loops=1)
  assert count_flops(idle, X) == FlopCount()


@jax.custom_vjp
def forged(x, w):
  return dense(x, w)


forged.defvjp(
  lambda x, w: (dense(x, w), (x, w)),
  lambda saved, g: (g, (saved[0].T @ g) @ jnp.eye(8)),
)


@jax.custom_jvp
def bent(x, w):
  return dense(x, w)


bent.defjvp(lambda at, dot: (bent(*at), dot[0] @ at[1]))


def test_custom_derivatives():
  for f in (forged, bent):
    assert count_flops(f, X, W).total == DENSE
    assert count_flops(jax.vmap(f), array(3, 5, 8), array(3, 8, 8)).total == (
      3 * DENSE
    )
  backward = jax.grad(lambda x, w: forged(x, w).sum(), (0, 1))
  assert count_flops(backward, X, W).total == DENSE + 2 * 8 * 8 * 8
  backward = jax.grad(lambda x, w: bent(x, w).sum())
  assert count_flops(backward, X, W).total == DENSE


def test_shard_map_counts_all_devices():
  devices = jax.device_count()
  mesh = make_mesh((devices,), ("data",))
  split, whole = PartitionSpec("data"), PartitionSpec()
  f = jax.shard_map(dense, mesh=mesh, in_specs=(split, whole), out_specs=split)
  count = count_flops(f, array(5 * devices, 8), W)
  assert count == FlopCount(dots=devices * DENSE)


def kernel(cost_estimate):
  def f(x):
    def copy(source, target):
      target[...] = source[...]

    return pl.pallas_call(
      copy,
      out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
      cost_estimate=cost_estimate,
      interpret=True,
    )(x)

  return f


def test_pallas_declares_its_cost():
  known = kernel(pl.CostEstimate(flops=99, transcendentals=0, bytes_accessed=1))
  assert count_flops(known, X) == FlopCount(pallas=99)
  assert count_flops(jax.vmap(known), array(3, 5, 8)) == FlopCount(pallas=297)
  assert count_flops(kernel(None), X) == FlopCount(unknown_calls=1)


def test_what_cannot_be_told_is_reported():
  def solve(a, b):
    return jax.lax.custom_linear_solve(
      lambda x: a @ x, b, lambda matvec, b: matvec(b)
    )

  assert count_flops(solve, W, array(8)).unknown_calls == 1
  assert count_flops(jnp.linalg.cholesky, W).unknown_calls == 1
  assert count_flops(lambda x: jnp.sort(x).sum(), X) == FlopCount()
  assert count_flops(lambda x: x.at[0].add(1.0), X) == FlopCount()


def two_towers(variables, batch):
  clip = scanned(batch["clip"], variables["clip"])
  return {
    "video": clip * variables["scale"],
    "text": clip + dense(batch["text"], variables["text"]),
  }


VARIABLES = dict(
  clip=array(3, 8, 8), text=W, scale=array(), nobody_reads=array(2)
)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit, jax.checkpoint])
def test_dead_code_costs_nothing(wrap):
  predict = wrap(two_towers)
  batch = dict(clip=X, text=X)
  args = VARIABLES, batch
  video = count_flops(lambda v, b: predict(v, b)["video"], *args)
  assert video.total == 3 * DENSE
  assert count_flops(predict, *args).total == 4 * DENSE

  variables, batch = used_arguments(lambda v, b: predict(v, b)["video"], *args)
  assert batch == dict(clip=True, text=False)
  assert variables == dict(
    clip=True, text=False, scale=True, nobody_reads=False
  )


def test_dead_code_inside_a_scan_costs_nothing():
  def f(x, w):
    def body(carry, _):
      useful, useless = carry
      return (dense(useful, w), dense(useless, w)), None

    return jax.lax.scan(body, (x, x), None, length=3)[0][0]

  assert count_flops(f, X, W).total == 3 * DENSE


def test_counts_add_and_multiply():
  count = FlopCount(1, 2, 3, 4, 5)
  assert count + count == count * 2 == FlopCount(2, 4, 6, 8, 10)
  assert count.total == 6


def test_takes_arrays_as_well():
  args = np.zeros((5, 8), "f"), jnp.zeros((8, 8))
  assert count_flops(dense, *args).total == DENSE
