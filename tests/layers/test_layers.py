import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.norm import BatchNorm, GroupNorm, LayerNorm
from trajvit.layers.patches import patchify
from trajvit.layers.sizes import Size, transformer_size
from trajvit.layers.stack import Stack


def rngs(seed=0):
  return nnx.Rngs(params=seed)


def test_linear_is_a_product_whatever_the_leading_axes(rng):
  layer = Linear(4, 3, rngs=rngs())
  x = rng.normal(size=(2, 5, 4)).astype(np.float32)
  expected = x @ layer.kernel[...] + layer.bias[...]
  np.testing.assert_allclose(layer(x), expected, atol=1e-6)
  assert Linear(4, 3, bias=False, rngs=rngs()).bias is None


def test_torch_initial_values_fill_their_interval():
  kernel = np.asarray(Linear(64, 500, init="torch", rngs=rngs()).kernel[...])
  assert 0.95 / 8 < np.abs(kernel).max() <= 1 / 8


def test_layer_norm_is_float32_inside(rng):
  x = (1000 + rng.normal(size=(3, 64))).astype(np.float32)
  y = LayerNorm(64, epsilon=1e-5)(x)
  expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(
    x.var(-1, keepdims=True) + 1e-5
  )
  np.testing.assert_allclose(y, expected, atol=1e-3)
  low = LayerNorm(64, dtype=jnp.bfloat16)(jnp.asarray(x, jnp.bfloat16))
  assert low.dtype == jnp.bfloat16


def test_group_norm_is_over_places_and_channels_of_a_group(rng):
  x = rng.normal(2.0, 3.0, (2, 3, 5, 6)).astype(np.float32)
  norm = GroupNorm(6, groups=2, epsilon=1e-5)
  y = np.asarray(norm(x))
  for image in range(2):
    for group in (slice(0, 3), slice(3, 6)):
      part = x[image, ..., group]
      expected = (part - part.mean()) / np.sqrt(part.var() + 1e-5)
      np.testing.assert_allclose(y[image, ..., group], expected, atol=1e-5)
  assert GroupNorm(32, dtype=jnp.bfloat16)(np.ones((1, 2, 2, 32))).dtype == (
    jnp.bfloat16
  )
  with pytest.raises(ValueError, match="4 groups must divide the width, got 6"):
    GroupNorm(6, groups=4)


def test_batch_norm_returns_running_statistics_and_writes_none(rng):
  norm = BatchNorm(3)
  x = rng.normal(2.0, 3.0, (4, 5, 5, 3)).astype(np.float32)
  y, stats = norm(x, train=True)
  np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
  flat = x.reshape(-1, 3)
  np.testing.assert_allclose(stats["mean"], 0.1 * flat.mean(0), rtol=1e-4)
  unbiased = flat.var(0, ddof=1)
  np.testing.assert_allclose(stats["variance"], 0.9 + 0.1 * unbiased, rtol=1e-4)
  assert not np.any(norm.mean[...])  # as declared
  y, stats = norm(x, train=False)
  assert stats == {}
  np.testing.assert_allclose(y, x / np.sqrt(1 + 1e-5), rtol=1e-5)


def test_batch_norm_counts_more_cells_than_int32_holds():
  norm, clips = BatchNorm(3), jax.ShapeDtypeStruct((2**14, 16, 2**14, 3), "f4")
  out, stats = jax.eval_shape(lambda x: norm(x, train=True), clips)
  assert out.shape == clips.shape and stats["variance"].shape == (3,)


@pytest.mark.parametrize("depth", [2, 6], ids=["unrolled", "scanned"])
@pytest.mark.parametrize("remat", [False, True])
def test_stack_equals_its_layers_one_by_one(rng, nnx_mode, depth, remat):
  def make(rngs):
    return Block(8, 2, 16, rngs=rngs)

  stack = Stack(make, depth, remat=remat, rngs=rngs())
  x = rng.normal(size=(2, 3, 8)).astype(np.float32)
  graphdef, states = nnx.split(stack.layers)
  expected, outputs = x, []
  for i in range(depth):
    state = jax.tree.map(lambda leaf, i=i: leaf[i], states)
    expected, aux = nnx.merge(graphdef, state)(expected)
    outputs.append(expected)
    assert aux == {}
  np.testing.assert_allclose(stack(x)[0], expected, atol=1e-5)
  y, aux, kept = stack.with_output_of(1, x)
  np.testing.assert_allclose(y, expected, atol=1e-5)
  np.testing.assert_allclose(kept, outputs[1], atol=1e-5)
  assert aux == {} and stack.with_output_of(None, x)[2] is None
  # Layers start different.
  kernel = nnx.to_pure_dict(states)["mlp"]["inner"]["kernel"]
  assert not np.allclose(kernel[0], kernel[1])


def test_post_norm_block_ends_normalised(rng):
  x = rng.normal(size=(2, 3, 8)).astype(np.float32)
  y = Block(8, 2, 16, norm="post", rngs=rngs())(x)[0]
  np.testing.assert_allclose(y.mean(-1), 0, atol=1e-5)
  with pytest.raises(ValueError, match="'pre' or 'post', got 'both'"):
    Block(8, 2, 16, norm="both", rngs=rngs())


def test_patchify_keeps_the_order_frame_row_column_channel(rng):
  frames = rng.random((1, 4, 6, 4, 3))
  patches = patchify(frames, (2, 3, 2))
  assert patches.shape == (1, 2, 2, 2, 36)
  expected = frames[0, 2:4, 0:3, 2:4].reshape(-1)
  np.testing.assert_array_equal(patches[0, 1, 0, 1], expected)
  with pytest.raises(ValueError, match=r"patch \(3, 3, 2\) must divide"):
    patchify(frames, (3, 3, 2))


def test_a_size_is_overridden_part_by_part():
  assert transformer_size("S") == Size(384, 12, 6, 1536)
  assert transformer_size("L", width=512) == Size(512, 24, 16, 2048)
  assert transformer_size("B", depth=3, mlp_dim=7) == Size(768, 3, 12, 7)
  with pytest.raises(ValueError, match="known: Ti, S, B, L, H"):
    transformer_size("XL")
  with pytest.raises(ValueError, match="must divide the width 100, got 12"):
    transformer_size("B", width=100)
