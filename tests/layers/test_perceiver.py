"""The perceiver against a loop written from its definition, and its masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.perceiver import Perceiver

WIDTH, HEADS, GRID = 24, 2, (2, 2, 3)
CELLS = 12
VARIANTS = ["rotary_1d", "rotary_3d"]


def make(position, **options):
  return Perceiver(
    WIDTH, num_heads=HEADS, position=position, rngs=nnx.Rngs(0), **options
  )


@pytest.fixture(params=VARIANTS, scope="module")
def perceiver(request):
  return make(request.param)


@pytest.fixture
def inputs(rng):
  latents = rng.normal(size=(2, 4, WIDTH)).astype(np.float32)
  return latents, rng.normal(size=(2, *GRID, WIDTH)).astype(np.float32)


def norm(x, epsilon):
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)


def linear(layer, x):
  y = x @ np.asarray(layer.kernel[...], np.float64)
  return y if layer.bias is None else y + np.asarray(layer.bias[...])


def turn(x, angles):
  """Turns the pair (2 i, 2 i + 1) by angles[i]."""
  x = x.copy()
  for i, angle in enumerate(angles):
    a, b = x[2 * i], x[2 * i + 1]
    x[2 * i] = a * np.cos(angle) - b * np.sin(angle)
    x[2 * i + 1] = b * np.cos(angle) + a * np.sin(angle)
  return x


def slow(perceiver, latents, x, seen):
  """One clip: latents [R, D], x [T, h, w, D], seen [R, keys] bool."""
  grid, dim = x.shape[:3], WIDTH // HEADS
  places = list(np.ndindex(*grid))
  x = norm(x.reshape(-1, WIDTH).astype(np.float64), 1e-6)
  latents, count = latents.astype(np.float64), len(latents)
  for layer in perceiver.layers:
    latents = norm(latents, 1e-6)
    if hasattr(layer, "norm_cells"):
      queries = norm(latents, 1e-5)
      context = np.concatenate([queries, norm(x, 1e-5)])
      half = dim // 2
      steps = [10000 ** (-2 * i / half) for i in range(half // 2)]
      phases = [[j * step for step in steps] for j in range(len(context))]
    else:
      queries, context = latents, x
      steps = [10000 ** (-i / (dim // 12)) for i in range(dim // 12)]
      phases = [
        [at * step for at in place for step in steps] for place in places
      ]
    q = linear(layer.query, queries)
    k, v = np.split(linear(layer.key_value, context), 2, axis=-1)
    read = np.zeros_like(q)
    for head in range(HEADS):
      part = slice(head * dim, (head + 1) * dim)
      for i in range(count):
        keys = np.flatnonzero(seen[i])
        query = q[i, part]
        if hasattr(layer, "norm_cells"):
          query = turn(query, phases[i])
        logits = [turn(k[j, part], phases[j]) @ query for j in keys]
        weights = np.exp(np.array(logits) / np.sqrt(dim))
        if len(keys):
          read[i, part] = weights @ v[keys][:, part] / weights.sum()
    latents = latents + linear(layer.out, read)
    y, mlp = norm(latents, 1e-6), layer.mlp
    gate = linear(mlp.gate, y)
    y = gate / (1 + np.exp(-gate)) * linear(mlp.up, y)
    latents = latents + linear(mlp.down, y)
  return latents


def test_reads_the_whole_grid_as_defined(perceiver, inputs):
  latents, x = inputs
  got = jax.jit(perceiver)(latents, x)
  keys = CELLS + (4 if hasattr(perceiver.layers[0], "norm_cells") else 0)
  for b in range(2):
    expected = slow(perceiver, latents[b], x[b], np.ones((4, keys), bool))
    np.testing.assert_allclose(got[b], expected, atol=2e-5)


@pytest.mark.parametrize("open_cells", [0, 2])
def test_reads_its_own_cells_as_defined(perceiver, inputs, rng, open_cells):
  """Slot 2 owns no cell, so that a latent of it may read none."""
  latents, x = inputs
  slots = np.array([0, 0, 1, 2])
  owner = rng.integers(-1, 2, (2, *GRID)).astype(np.int32)
  mask = rng.random((2, *GRID)) > 0.2
  got = jax.jit(
    lambda latents, x: perceiver(
      latents, x, mask=mask, slots=slots, owner=owner, open_cells=open_cells
    )
  )(latents, x)
  for b in range(2):
    seen = slots[:, None] == owner[b].ravel()
    seen[:, CELLS - open_cells :] |= open_cells > 0
    seen &= mask[b].ravel()
    if hasattr(perceiver.layers[0], "norm_cells"):
      seen = np.concatenate([slots[:, None] == slots, seen], axis=1)
    expected = slow(perceiver, latents[b], x[b], seen)
    np.testing.assert_allclose(got[b], expected, atol=2e-5)


def test_the_open_cells_are_those_of_the_reference():
  """Three slots with two latents each over five cells; 1 = never read."""
  perceiver = make("rotary_3d", depth=1)
  owner = np.array([0, 0, 2, 1, 2], np.int32).reshape(1, 1, 1, 5)
  latents = jnp.ones((1, 6, WIDTH))
  slots = jnp.repeat(jnp.arange(3), 2)

  def read(x):
    out = perceiver(latents, x, slots=slots, owner=owner, open_cells=2)
    return jnp.square(out[0]).sum(-1)  # [6]

  x = jax.random.normal(jax.random.key(0), (1, 1, 1, 5, WIDTH))
  grads = jax.jit(jax.jacrev(read))(x)[:, 0, 0, 0]  # [6, 5, D]
  blocked = (np.abs(grads).max(-1) == 0).astype(int)
  expected = ["00100", "00100", "11100", "11100", "11000", "11000"]
  assert ["".join(map(str, row)) for row in blocked] == expected


def test_padding_is_never_read(perceiver, inputs):
  latents, x = inputs
  mask = np.ones((2, *GRID), bool)
  mask[:, 1] = False

  @jax.jit
  def step(x):
    return jax.value_and_grad(
      lambda x: jnp.square(perceiver(latents, x, mask=mask)).sum()
    )(x)

  clean, grads = step(x)
  assert not np.any(grads[:, 1])
  for fill in (1e4, np.nan):
    value, dirty = step(np.where(mask[..., None], x, fill))
    assert value == clean
    np.testing.assert_array_equal(grads, dirty)


def test_in_3d_padding_frames_equal_a_shorter_clip(inputs):
  latents, x = inputs
  perceiver = make("rotary_3d", depth=1)
  mask = np.ones((2, *GRID), bool)
  mask[:, 1] = False
  short = jax.jit(perceiver)(latents, x[:, :1])
  long = jax.jit(lambda x: perceiver(latents, x, mask=mask))(x)
  np.testing.assert_allclose(long, short, atol=1e-6)


def test_in_3d_latents_are_a_set(inputs):
  latents, x = inputs
  order = np.array([2, 0, 3, 1])

  def difference(position):
    read = jax.jit(make(position, depth=1))
    return np.abs(read(latents[:, order], x) - read(latents, x)[:, order]).max()

  assert difference("rotary_3d") < 1e-5
  assert difference("rotary_1d") > 1e-4


@pytest.mark.parametrize(
  ("options", "message"),
  [
    (dict(position="rope"), "rotary_3d, rotary_1d, got 'rope'"),
    (dict(num_heads=5), "divisible by num_heads, got 24 and 5"),
    (dict(depth=0), "depth must be at least 1, got 0"),
  ],
)
def test_what_it_cannot_be_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    Perceiver(WIDTH, rngs=nnx.Rngs(0), **dict(num_heads=HEADS) | options)
