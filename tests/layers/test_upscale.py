"""The decoder to a finer grid against transposed convolutions in loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.upscale import SCALES, Double, Upscale


def gelu(x):
  return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def layer_norm(x, scale, bias):
  """Over the channels of every cell, biased variance, epsilon 1e-6."""
  x = x - x.mean(-1, keepdims=True)
  return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale + bias


def transposed(x, kernel, bias):
  """Every cell of x [h, w, C] adds x @ kernel [C, 2, 2, O] to its square."""
  height, width, _ = x.shape
  y = np.tile(bias, (2 * height, 2 * width, 1))
  for i in range(height):
    for j in range(width):
      for a in range(2):
        for b in range(2):
          y[2 * i + a, 2 * j + b] += x[i, j] @ kernel[:, a, b]
  return y


def numpy(parameter):
  return np.asarray(parameter[...], np.float64)


def slow(upscale, x):
  for i, double in enumerate(upscale.double):
    x = transposed(x, numpy(double.kernel), numpy(double.bias))
    if i == 0:
      x = layer_norm(x, numpy(upscale.norm.scale), numpy(upscale.norm.bias))
    x = gelu(x)
  return gelu(x @ numpy(upscale.out.kernel) + numpy(upscale.out.bias))


def randomized(module, rng):
  """The module with biases, scales and all else drawn anew."""
  graphdef, state = nnx.split(module)
  return nnx.merge(
    graphdef,
    jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), state),
  )


@pytest.mark.parametrize("scale", SCALES)
def test_equals_loops(rng, nnx_mode, scale):
  upscale = Upscale(8, outputs=3, scale=scale, rngs=nnx.Rngs(params=0))
  upscale = randomized(upscale, rng)
  assert len(upscale.double) == math.log2(scale)
  x = rng.normal(size=(2, 1, 2, 3, 8)).astype(np.float32)  # [B, T, h, w, D]
  got = upscale(x)
  assert got.shape == (2, 1, 2 * scale, 3 * scale, 3)
  for b in range(2):
    np.testing.assert_allclose(got[b, 0], slow(upscale, x[b, 0]), atol=1e-4)


def test_a_cell_makes_its_own_square_and_no_other(rng):
  upscale = Upscale(8, scale=4, rngs=nnx.Rngs(params=0))
  x = rng.normal(size=(3, 2, 8)).astype(np.float32)
  changed = x.copy()
  changed[1, 1] += 1.0
  differs = np.array(upscale(x) != upscale(changed)).any(-1)
  assert differs[4:8, 4:8].any()
  differs[4:8, 4:8] = False
  assert not differs.any()


def test_starts_as_pytorch_does():
  kernel = np.abs(Double(64, 16, rngs=nnx.Rngs(params=0)).kernel[...])
  assert 0.95 / 8 < kernel.max() <= 1 / 8  # 1 / sqrt(2 * 2 * 16)


def test_has_the_size_of_the_released_decoder():
  shapes = nnx.eval_shape(lambda: Upscale(512, rngs=nnx.Rngs(params=0)))
  count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(shapes)))
  convolutions = (512 * 256 * 4 + 256) + (256 * 128 * 4 + 128)
  assert count == convolutions + 2 * 256 + (128 * 64 + 64) == 664_512


def test_gradients_are_finite_and_reach_everything(rng):
  upscale = Upscale(16, scale=8, dtype=jnp.bfloat16, rngs=nnx.Rngs(params=0))
  graphdef, state = nnx.split(upscale)
  x = rng.normal(size=(2, 2, 16)).astype(np.float32)

  def loss(state):
    y = nnx.merge(graphdef, state)(x)
    assert y.dtype == jnp.bfloat16
    return jnp.square(y.astype(jnp.float32)).sum()

  for gradient in jax.tree.leaves(jax.jit(jax.grad(loss))(state)):
    assert gradient.dtype == jnp.float32
    assert np.isfinite(gradient).all()
    assert np.any(gradient)


def test_refuses_other_sizes():
  with pytest.raises(ValueError, match=r"one of \(1, 2, 4, 8\), got 3"):
    Upscale(9, scale=3, rngs=nnx.Rngs(params=0))
  with pytest.raises(ValueError, match="divisible by 8, got 12"):
    Upscale(12, scale=8, rngs=nnx.Rngs(params=0))
