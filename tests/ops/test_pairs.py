"""Losses over all pairs: equal to the whole matrix, and never making it."""

import functools
import re

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
from trajvit.objectives import contrastive, sigmoid
from trajvit.ops.pairs import Schedule
from trajvit.types import Batch, Clip

NAMES = ("video_embedding", "text_embedding", "temperature", "bias")
LOSSES = {"contrastive": contrastive, "sigmoid": sigmoid}
each_loss = pytest.mark.parametrize("name", LOSSES)


@starts_eight_devices
@pytest.mark.parametrize(
  "marks", ["not slow", pytest.param("slow", marks=pytest.mark.slow)]
)
def test_on_eight_devices(marks):
  run_on_eight_devices(__file__, marks)


def draw(rng, count, dim=6, groups=7):
  """Embeddings, temperature and bias; ids with duplicates; who is valid."""
  video, text = rng.normal(size=(2, count, dim))
  video[-1] = video[0]  # equal scores: the first is the best
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (video, text)]
  inputs = (*unit, rng.uniform(0.1, 0.5), rng.normal())
  return inputs, rng.integers(0, groups, count), rng.random(count) < 0.8


def dense(name, inputs, ids, valid):
  """The loss, its gradients and the accuracy, from the whole matrix."""
  video, text, temperature, bias = inputs
  valid = valid.astype(float)
  pair = np.outer(valid, valid)
  positive = (ids[:, None] == ids) * pair
  products = (video * valid[:, None]) @ (text * valid[:, None]).T / temperature
  count = max(valid.sum(), 1)

  def hits(scores, positive):
    scores = np.where(valid > 0, scores, -np.inf)
    best = scores.argmax(1)
    return (positive[np.arange(len(best)), best] * valid).sum() / count

  if name == "sigmoid":
    sign = 2 * positive - 1
    scores = products + bias
    loss = (np.logaddexp(0, -sign * scores) * pair).sum() / count
    slope = -sign / (1 + np.exp(sign * scores)) * pair / count
    accuracy = hits(scores, positive)
  else:
    target = positive / np.maximum(positive.sum(1, keepdims=True), 1)
    loss = slope = 0.0
    accuracy = (hits(products, positive) + hits(products.T, positive)) / 2
    for scores, turn in ((products, np.array), (products.T, np.transpose)):
      power = np.exp(scores) * valid
      share = power / power.sum(1, keepdims=True)
      log_share = scores - np.log(power.sum(1, keepdims=True))
      loss -= (target * log_share).sum() / count / 2
      slope = slope + turn((share - target) * valid[:, None]) / count / 2
  gradients = (
    slope @ (text * valid[:, None]) / temperature,
    slope.T @ (video * valid[:, None]) / temperature,
    -(slope * products).sum() / temperature,
    slope.sum() if name == "sigmoid" else 0.0,
  )
  return loss, gradients, accuracy


def value_and_gradients(name, **options):
  """The same by the objective, as one function to be compiled."""

  def loss(inputs, ids, valid):
    clip = Clip(frames=jnp.zeros((len(ids), 1, 1, 1, 3), jnp.uint8))
    batch = Batch(clip=clip, clip_id=ids, valid=valid)
    outputs = dict(zip(NAMES, inputs, strict=True))
    return LOSSES[name](outputs, batch, **options)

  run = jax.value_and_grad(loss, has_aux=True)

  def ordered(*args):
    (value, metrics), gradients = run(*args)
    return value, gradients, metrics["accuracy"]

  return ordered


@functools.cache
def compiled_for(name, chunk):
  return jax.jit(value_and_gradients(name, chunk=chunk))


def assert_close(got, expected, tolerance):
  for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    scale = max(np.abs(y).max(), 1)
    np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)


@starts_eight_devices
@each_loss
@pytest.mark.parametrize("chunk", [4, 64])
def test_equal_the_whole_matrix(rng, name, chunk):
  run = compiled_for(name, chunk)
  for _ in range(10):
    inputs, ids, valid = draw(rng, 11)
    single = jax.tree.map(np.float32, inputs)
    expected = dense(name, inputs, ids, valid)
    assert_close(run(single, ids, valid), expected, 1e-6)


@starts_eight_devices
@each_loss
@pytest.mark.parametrize("valid", [0, 1])
def test_with_one_valid_row_or_none_all_is_finite(rng, name, valid):
  run = compiled_for(name, 4)
  inputs, ids, _ = draw(rng, 11)
  found = run(jax.tree.map(np.float32, inputs), ids, np.arange(11) < valid)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
  if not valid or name == "contrastive":
    assert all((x == 0).all() for x in jax.tree.leaves(found[:2]))


@starts_eight_devices
def test_what_is_asked_for_is_checked(rng):
  with pytest.raises(ValueError, match="one of gathered, ring, got 'dense'"):
    Schedule.here("dense", 4)
  with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
    Schedule.here("ring", 0)


def placeable(inputs):
  """Arrays of the precision that is on."""
  dtype = np.float64 if jax.config.jax_enable_x64 else np.float32
  return jax.tree.map(lambda x: np.asarray(x, dtype), inputs)


# The axes of a mesh, the clips of a batch, and columns at a time. Devices do
# not divide the clips of the second, which is computed in double precision.
EVEN, ODD = ((4, 2, 1), 256, 16), ((2, 2, 2), 21, 2)
DIM, LOCAL = 6, 256 // 8


def case(*values, slow=False):
  return pytest.param(*values, marks=pytest.mark.slow if slow else ())


@functools.cache
def on_mesh(name, method, axes, count, chunk):
  """The compiled program for a batch of `count` on a mesh, and a runner."""
  mesh = make_mesh(axes, ("data", "fsdp", "tensor"))
  clips = P(("data", "fsdp")) if count % (axes[0] * axes[1]) == 0 else P()
  specs = (clips, clips, P(), P()), clips, clips
  layouts = jax.tree.map(
    lambda spec: NamedSharding(mesh, spec),
    specs,
    is_leaf=lambda x: isinstance(x, P),
  )

  def place(*args):
    return jax.device_put(args, layouts)

  run = value_and_gradients(name, method=method, chunk=chunk)
  with jax.set_mesh(mesh):
    inputs, *rest = draw(np.random.default_rng(0), count, DIM)
    args = place(placeable(inputs), *rest)
    compiled = jax.jit(run).lower(*args).compile()
  return compiled, lambda *args: compiled(*place(*args))


@on_eight_devices
@pytest.mark.parametrize(
  ("name", "method", "sizes"),
  [
    case("contrastive", "gathered", EVEN),
    case("contrastive", "ring", ODD),
    case("sigmoid", "gathered", ODD),
    case("sigmoid", "ring", EVEN),
    case("contrastive", "gathered", ODD, slow=True),
    case("contrastive", "ring", EVEN, slow=True),
    case("sigmoid", "gathered", EVEN, slow=True),
    case("sigmoid", "ring", ODD, slow=True),
  ],
)
def test_eight_devices_equal_the_whole_matrix(rng, name, method, sizes):
  double = sizes == ODD
  with jax.enable_x64(double):
    _, run = on_mesh(name, method, *sizes)
    for _ in range(3):
      inputs, ids, valid = draw(rng, sizes[1], DIM)
      expected = dense(name, inputs, ids, valid)
      found = run(placeable(inputs), ids, valid)
      assert_close(found, expected, 1e-12 if double else 1e-6)


def elements(compiled):
  """The numbers of elements of all arrays in a compiled program."""
  shapes = re.findall(
    r"\b(?:pred|[su]\d+|f\d+)\[([\d,]+)\]", compiled.as_text()
  )
  return {int(np.prod([int(n) for n in x.split(",")])) for x in shapes}


@on_eight_devices
@pytest.mark.parametrize(
  ("name", "method"),
  [
    case("contrastive", "gathered"),
    case("sigmoid", "ring"),
    case("contrastive", "ring", slow=True),
    case("sigmoid", "gathered", slow=True),
  ],
)
def test_no_device_holds_more_pairs_than_a_chunk_of_its_rows(name, method):
  _, count, chunk = EVEN
  compiled, _ = on_mesh(name, method, *EVEN)
  columns = {"gathered": count, "ring": LOCAL}[method]
  assert max(elements(compiled)) == max(columns * DIM, LOCAL * chunk)
  pairs = count * count * 4  # bytes of their matrix
  assert compiled.memory_analysis().temp_size_in_bytes < pairs / 4


@on_eight_devices
@pytest.mark.slow
def test_a_chunk_of_all_columns_is_seen():
  axes, count, _ = EVEN
  compiled, _ = on_mesh("contrastive", "gathered", axes, count, count)
  assert max(elements(compiled)) == LOCAL * count
