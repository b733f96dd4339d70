import jax
import jax.numpy as jnp
import pytest

from trajvit.bench import roofline, sweep
from trajvit.bench.roofline import Ceilings, Work
from trajvit.evaluators.flops import count_flops

BATCH, LENGTH, HEADS, DIM = 2, 24, 3, 8
LOGITS, ROWS = BATCH * HEADS * LENGTH**2, BATCH * HEADS * LENGTH


def counted(step):
  array = jax.ShapeDtypeStruct((BATCH, LENGTH, HEADS, DIM), jnp.float32)

  def run(query, key, value, out_grad):
    return step(query, key, value, out_grad, implementation="reference")

  return count_flops(run, *[array] * 4).dots


def test_forward_flops_are_those_of_the_dots():
  work = roofline.forward_work(LOGITS, ROWS, ROWS, DIM, 4)
  assert work.flops == work.executed_flops == counted(sweep.forward)


def test_backward_flops_are_the_dots_and_logits_computed_again():
  # The reference keeps its weights, and so has one product fewer.
  forward = roofline.forward_work(LOGITS, ROWS, ROWS, DIM, 4)
  backward = roofline.backward_work(LOGITS, ROWS, ROWS, DIM, 4)
  product = forward.flops // 2
  assert forward.flops + backward.flops - product == counted(sweep.both)
  assert backward.flops == 5 * product
  assert backward.executed_flops == 7 * product


def test_bytes_are_those_of_the_arrays():
  array = ROWS * DIM * 2
  forward = roofline.forward_work(LOGITS, ROWS, ROWS, DIM, 2)
  assert forward.bytes == 4 * array + 4 * ROWS  # q, k, v, out, logsumexp
  # Two kernels read q, k, v and the gradient of out, and write three arrays.
  backward = roofline.backward_work(LOGITS, ROWS, ROWS, DIM, 2)
  assert backward.bytes == (2 * 4 + 3) * array + 2 * 2 * 4 * ROWS


def test_the_roofline_is_the_limit_that_is_met_first():
  ceilings = Ceilings(flops_per_second=100, bytes_per_second=10, how="")
  assert ceilings.seconds(Work(500, 900, 10)) == 5
  assert ceilings.seconds(Work(500, 900, 80)) == 8


def test_break_even_is_where_the_line_meets_dense_attention():
  densities = [0.1, 0.2, 0.6]
  seconds = [1 + 4 * density for density in densities]
  assert roofline.break_even(densities, seconds, 3.0) == pytest.approx(0.5)


@pytest.mark.parametrize(
  ("densities", "seconds"), [([], []), ([0.5], [1]), ([0.1, 1], [2, 1])]
)
def test_break_even_needs_a_line_that_rises(densities, seconds):
  assert roofline.break_even(densities, seconds, 3.0) is None


def test_ceilings_are_measured():
  found = roofline.measure_ceilings("float32", size=64, megabytes=1, rounds=1)
  assert found.flops_per_second > 0
  assert found.bytes_per_second > 0
  assert found.how == "64 x 64 float32 product, 1 MiB copy"
