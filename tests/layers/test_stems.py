"""Stems against loops, the ConvNeXt from weights in PyTorch's layout."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.stems import STEMS
from trajvit.layers.stems.conv import ResidualConv
from trajvit.layers.stems.convnext import CONVNEXTS, ConvNeXtStem
from trajvit.layers.stems.pyramid import Pyramid

TINY = {
  "conv": dict(name="conv", widths=(4, 6), depths=(1, 1)),
  "convnext": dict(name="convnext", widths=(4, 6), depths=(1, 1)),
  "vit": dict(name="vit", patch=4, depth=1, num_heads=2, mlp_ratio=2),
}
WIDTH = 8


def rngs():
  return nnx.Rngs(params=0)


def build(name, **options):
  """A stem with all parameters drawn by NumPy, which compiles nothing."""

  def make():
    return STEMS.build(TINY[name], width=WIDTH, rngs=rngs(), **options)

  graphdef, shapes = nnx.split(nnx.eval_shape(make))
  draw = np.random.default_rng(0).normal

  def value(leaf):
    return jnp.asarray(draw(0, 0.5, leaf.shape), leaf.dtype)

  return nnx.merge(graphdef, jax.tree.map(value, shapes))


def compiled(stem):
  """The stem as a compiled function of (state, frames), and its state."""
  graphdef, state = nnx.split(stem)
  return jax.jit(lambda state, x: nnx.merge(graphdef, state)(x)), state


def gelu(x):
  return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def layer_norm(x, weight, bias, epsilon):
  x = x - x.mean(-1, keepdims=True)
  variance = (x**2).mean(-1, keepdims=True)
  return x / np.sqrt(variance + epsilon) * weight + bias


def convolve(x, weight, bias, stride, padding, depthwise=False):
  """[h, w, C] with PyTorch's weight [O, C, k, k], or [C, 1, k, k]."""
  size = weight.shape[-1]
  x = np.pad(x, [(padding, padding)] * 2 + [(0, 0)])
  steps = [(n - size) // stride + 1 for n in x.shape[:2]]
  y = np.tile(bias, (*steps, 1)).astype(np.float64)
  for i in range(steps[0]):
    for j in range(steps[1]):
      for a in range(size):
        for b in range(size):
          seen = x[i * stride + a, j * stride + b]
          if depthwise:
            y[i, j] += weight[:, 0, a, b] * seen
          else:
            y[i, j] += weight[:, :, a, b] @ seen
  return y


def bilinear(x, height, width):
  """Samples [h, w, C] at half-pixel centres, held inside the border."""

  def taps(i, count, size):
    place = min(max((i + 0.5) * size / count - 0.5, 0), size - 1)
    low = min(int(place), max(size - 2, 0))
    return (low, 1 - (place - low)), (min(low + 1, size - 1), place - low)

  y = np.zeros((height, width, x.shape[-1]))
  for i in range(height):
    for j in range(width):
      for row, across in taps(i, height, x.shape[0]):
        for column, along in taps(j, width, x.shape[1]):
          y[i, j] += across * along * x[row, column]
  return y


def torch_weights(rng, widths, depths, width):
  """A state dict with the names and layouts of DINOv3 and TrajTok."""
  shapes = {}

  def conv(name, *shape):
    shapes.update({f"{name}.w": shape, f"{name}.b": shape[:1]})

  for s, (channels, depth) in enumerate(zip(widths, depths, strict=True)):
    down = f"backbone.downsample_layers.{s}"
    if s == 0:
      conv(f"{down}.0", channels, 3, 4, 4)
      conv(f"{down}.1", channels)
    else:
      conv(f"{down}.0", widths[s - 1])
      conv(f"{down}.1", channels, widths[s - 1], 2, 2)
    for j in range(depth):
      block = f"backbone.stages.{s}.{j}"
      conv(f"{block}.dwconv", channels, 1, 7, 7)
      conv(f"{block}.norm", channels)
      conv(f"{block}.pwconv1", 4 * channels, channels)
      conv(f"{block}.pwconv2", channels, 4 * channels)
      shapes[f"{block}.gamma"] = (channels,)
    conv(f"proj.{s}", width, channels, 1, 1)
  conv("backbone.norm", widths[-1])
  conv("ln", width)
  # What enters a norm is small in places, so that its epsilon shows.
  small = ("backbone.downsample_layers.0.0", "dwconv", "proj")

  def scale(name):
    return 2e-3 if any(part in name for part in small) else 0.5

  return {k: rng.normal(0, scale(k), shape) for k, shape in shapes.items()}


def slow_convnext(x, weights, depths):
  """One frame [H, W, 3] through the reference, step by step."""

  def named(name):
    return weights[f"{name}.w"], weights[f"{name}.b"]

  features = []
  for s, depth in enumerate(depths):
    down = f"backbone.downsample_layers.{s}"
    if s == 0:
      x = convolve(x, *named(f"{down}.0"), stride=4, padding=0)
      x = layer_norm(x, *named(f"{down}.1"), 1e-6)
    else:
      x = layer_norm(x, *named(f"{down}.0"), 1e-6)
      x = convolve(x, *named(f"{down}.1"), stride=2, padding=0)
    for j in range(depth):
      block = f"backbone.stages.{s}.{j}"
      y = convolve(x, *named(f"{block}.dwconv"), 1, 3, depthwise=True)
      y = layer_norm(y, *named(f"{block}.norm"), 1e-6)
      weight, bias = named(f"{block}.pwconv1")
      y = gelu(y @ weight.T + bias)
      weight, bias = named(f"{block}.pwconv2")
      x = x + weights[f"{block}.gamma"] * (y @ weight.T + bias)
    features.append(x)
  features[-1] = layer_norm(x, *named("backbone.norm"), 1e-6)
  total = 0
  for s, x in enumerate(features):
    x = layer_norm(convolve(x, *named(f"proj.{s}"), 1, 0), *named("ln"), 1e-5)
    total = total + bilinear(x, *features[0].shape[:2])
  return total


def imported(weights, depths):
  """The parameters by path, by the table in the docstring of the module."""
  here = {}

  def norm(there, name):
    here[f"{name}.scale"] = weights[f"{there}.w"]
    here[f"{name}.bias"] = weights[f"{there}.b"]

  def patches(there, name):
    kernel = weights[f"{there}.w"].transpose(2, 3, 1, 0)  # [p, p, in, out]
    here[f"{name}.kernel"] = kernel.reshape(-1, kernel.shape[-1])
    here[f"{name}.bias"] = weights[f"{there}.b"]

  for s, depth in enumerate(depths):
    down = f"backbone.downsample_layers.{s}"
    patches(f"{down}.{min(s, 1)}", f"trunk.patches.{s}.linear")
    norm(f"{down}.{1 - min(s, 1)}", f"trunk.patch_norms.{s}")
    patches(f"proj.{s}", f"pyramid.project.{s}")

    def stacked(name, axes, s=s, depth=depth):
      blocks = [f"backbone.stages.{s}.{j}.{name}" for j in range(depth)]
      return np.stack([weights[block].transpose(axes) for block in blocks])

    stage = f"trunk.stages.{s}.layers"
    here[f"{stage}.conv.kernel"] = stacked("dwconv.w", (2, 3, 1, 0))
    here[f"{stage}.conv.bias"] = stacked("dwconv.b", (0,))
    here[f"{stage}.norm.scale"] = stacked("norm.w", (0,))
    here[f"{stage}.norm.bias"] = stacked("norm.b", (0,))
    for there, name in (("pwconv1", "inner"), ("pwconv2", "outer")):
      here[f"{stage}.mlp.{name}.kernel"] = stacked(f"{there}.w", (1, 0))
      here[f"{stage}.mlp.{name}.bias"] = stacked(f"{there}.b", (0,))
    here[f"{stage}.gamma"] = stacked("gamma", (0,))
  norm("backbone.norm", "trunk.norm")
  norm("ln", "pyramid.norm")
  return here


def with_parameters(stem, values):
  """The stem with the parameter at every path replaced by that of `values`."""
  graphdef, state = nnx.split(stem)
  left = dict(values)

  def replace(path, leaf):
    value = left.pop(".".join(str(part) for part in path))
    assert value.shape == leaf.shape, path
    return leaf.replace(jnp.asarray(value, jnp.float32))

  flat = [
    (path, replace(path, leaf)) for path, leaf in nnx.to_flat_state(state)
  ]
  assert not left
  return nnx.merge(graphdef, nnx.from_flat_state(flat))


def test_convnext_with_weights_in_the_reference_layout(rng):
  widths, depths = (4, 6, 8, 10), (1, 2, 1, 1)
  weights = torch_weights(rng, widths, depths, WIDTH)

  def make():
    return ConvNeXtStem(widths=widths, depths=depths, width=WIDTH, rngs=rngs())

  stem = with_parameters(nnx.eval_shape(make), imported(weights, depths))
  frames = rng.normal(size=(2, 32, 64, 3)).astype(np.float32)
  run, state = compiled(stem)
  got = run(state, frames)
  assert got.shape == (2, 8, 16, WIDTH)
  for n in range(2):
    expected = slow_convnext(frames[n], weights, depths)
    np.testing.assert_allclose(got[n], expected, atol=2e-4)


# ImageNet classifiers as published, in millions 28.6, 50.2, 88.6 and 197.8.
CLASSIFIERS = {
  "tiny": 28_589_128,
  "small": 50_223_688,
  "base": 88_591_464,
  "large": 197_767_336,
}


@pytest.mark.parametrize("variant", CONVNEXTS)
def test_convnext_has_the_published_sizes(variant):
  def make():
    return ConvNeXtStem(variant=variant, width=512, rngs=rngs())

  stem = nnx.eval_shape(make)
  count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(stem.trunk)))
  last = stem.trunk.widths[-1]
  assert count + last * 1000 + 1000 == CLASSIFIERS[variant]
  if variant == "small":
    pyramid = jax.tree.leaves(nnx.state(stem.pyramid))
    total = count + sum(leaf.size for leaf in pyramid)
    assert round(total / 1e6, 2) == 50.20


def test_pyramid_resizes_as_pytorch_does(rng):
  pyramid = Pyramid((3, 5, 4), WIDTH, rngs=rngs())
  shapes = [(6, 7, 3), (3, 4, 5), (9, 2, 4)]  # one is made smaller
  features = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
  expected = 0
  for project, x in zip(pyramid.project, features, strict=True):
    x = layer_norm(x @ np.asarray(project.kernel[...]), 1, 0, 1e-5)
    expected = expected + bilinear(x, 6, 7)
  got = jax.jit(pyramid)([x[None] for x in features])
  np.testing.assert_allclose(got[0], expected, atol=1e-5)


def test_groups_of_a_convolution_are_convolved_apart(rng):
  conv = Conv(4, 8, 3, groups=2, init="lecun", rngs=rngs())
  x = rng.normal(size=(5, 4, 4)).astype(np.float32)
  kernel = np.asarray(conv.kernel[...])  # [3, 3, 4 / groups, 8]
  weight = kernel.transpose(3, 2, 0, 1)
  parts = zip(np.split(x, 2, -1), np.split(weight, 2), strict=True)
  expected = [convolve(part, w, np.zeros(len(w)), 1, 1) for part, w in parts]
  expected = np.concatenate(expected, -1)
  np.testing.assert_allclose(conv(x[None])[0], expected, atol=1e-5)


def test_residual_convolution_equals_loops(rng):
  block = ResidualConv(4, dtype=jnp.float32, rngs=rngs())
  x = rng.normal(size=(3, 5, 4)).astype(np.float32)
  weight = np.asarray(block.conv.kernel[...]).transpose(3, 2, 0, 1)
  y = convolve(layer_norm(x, 1, 0, 1e-6), weight, np.zeros(4), 1, 1)
  expected = x + gelu(y) @ np.asarray(block.linear.kernel[...])
  got, aux = jax.jit(block)(x[None])
  np.testing.assert_allclose(got[0], expected, atol=1e-5)
  assert aux == {}


def test_conv_moves_with_the_image(rng):
  run, state = compiled(build("conv"))
  frames = rng.normal(size=(1, 80, 80, 3)).astype(np.float32)
  moved = np.roll(frames, (8, 8), axis=(1, 2))  # a cell of the coarsest stage
  y, z = np.roll(run(state, frames), (2, 2), axis=(1, 2)), run(state, moved)
  reach = 8  # cells, from the border and from where the image was cut
  inside = np.s_[:, 2 + reach : -reach, 2 + reach : -reach]
  np.testing.assert_allclose(z[inside], y[inside], atol=1e-4)
  assert np.abs(z - y).max() > 1e-2  # zeros beyond the border are seen


def test_conv_is_compiled_without_a_loop():
  # In a loop, XLA's convolutions on a CPU are slower by an order of magnitude.
  run, state = compiled(build("conv"))
  frames = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
  assert "stablehlo.while" not in run.lower(state, frames).as_text()


def test_vit_knows_where_a_patch_is_at_any_size():
  run, state = compiled(build("vit"))
  for height, width in ((8, 12), (12, 4)):
    y = run(state, np.ones((1, height, width, 3), np.float32))
    cells = np.asarray(y).reshape(-1, WIDTH)
    gaps = np.abs(cells[:, None] - cells[None]).max(-1)
    assert gaps[~np.eye(len(cells), dtype=bool)].min() > 1e-3


@pytest.mark.parametrize("name", STEMS)
def test_any_number_and_size_of_frames(nnx_mode, name):
  stem = build(name)
  for count, height, width in ((1, 8, 8), (5, 16, 24)):
    frames = jax.ShapeDtypeStruct((count, height, width, 3), jnp.float32)
    grid = (height // stem.stride, width // stem.stride)
    assert jax.eval_shape(stem, frames).shape == (count, *grid, stem.width)


@pytest.mark.parametrize("name", STEMS)
def test_frames_are_seen_one_by_one(rng, name):
  run, state = compiled(build(name))
  frames = rng.normal(size=(3, 16, 24, 3)).astype(np.float32)
  first = run(state, frames)[0]
  frames[1:] = np.nan
  np.testing.assert_allclose(run(state, frames)[0], first, atol=1e-5)


@pytest.mark.parametrize("name", STEMS)
def test_gradients_are_finite_and_reach_everything(rng, name):
  frames = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
  graphdef, state = nnx.split(build(name, dtype=jnp.bfloat16))
  # A sum of squares would not tell: a norm keeps it as it is.
  weights = rng.normal(size=(2, 4, 4, WIDTH)).astype(np.float32)

  def loss(state):
    y = nnx.merge(graphdef, state)(frames)
    assert y.dtype == jnp.bfloat16
    return (y * weights).sum()

  gradients = jax.jit(jax.grad(loss))(state)
  for path, gradient in nnx.to_flat_state(gradients):
    gradient = gradient[...]
    assert gradient.dtype == jnp.float32, path
    assert np.isfinite(gradient).all(), path
    assert np.any(gradient), path


def test_sizes_that_do_not_fit_are_refused():
  frames = np.zeros((1, 12, 16, 3), np.float32)
  for name in ("conv", "convnext"):
    stem = build(name)
    with pytest.raises(ValueError, match="multiples of 8, got 12 x 16"):
      stem(frames)
  stem = build("vit")
  with pytest.raises(ValueError, match="multiples of 4, got 12 x 15"):
    stem(frames[:, :, :15])
  with pytest.raises(ValueError, match="divisible by 4, got 6"):
    STEMS.build(TINY["vit"], width=6, rngs=rngs())
  with pytest.raises(ValueError, match=r"each stage, got \(4, 6\) and \(1,\)"):
    STEMS.build(TINY["conv"] | {"depths": (1,)}, width=8, rngs=rngs())
  with pytest.raises(ValueError, match="known: tiny, small, base, large"):
    ConvNeXtStem(variant="huge", width=8, rngs=rngs())
