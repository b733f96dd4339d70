"""Pixels by way of codes: a reference in NumPy, and the decoder around it."""

import jax
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.decoders.pixel import PixelDecoder
from trajvit.types import Tokens

SIZES = dict(num_codes=5, code_dim=6, width=32, multipliers=(1, 2), depth=2)


def convolved(x, conv):
  kernel = np.asarray(conv.kernel[...], np.float64)
  size, _, _, outputs = kernel.shape
  edge = size // 2
  padded = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
  y = np.zeros((*x.shape[:3], outputs))
  for i in range(size):
    for j in range(size):
      part = padded[:, i : i + x.shape[1], j : j + x.shape[2]]
      y += part @ kernel[i, j]
  return y if conv.bias is None else y + np.asarray(conv.bias[...])


def normed(x, norm):
  parts = x.reshape(*x.shape[:3], 32, -1)
  mean = parts.mean((1, 2, 4), keepdims=True)
  variance = parts.var((1, 2, 4), keepdims=True)
  y = ((parts - mean) / np.sqrt(variance + 1e-6)).reshape(x.shape)
  y = y * np.asarray(norm.scale[...]) + np.asarray(norm.bias[...])
  return y / (1 + np.exp(-y))  # swish


def residual(x, block):
  y = convolved(normed(x, block.norm_first), block.conv_first)
  y = convolved(normed(y, block.norm_second), block.conv_second)
  return x + y if block.shortcut is None else y + convolved(y, block.shortcut)


def reference(x, codes):
  inner, logits = (
    [np.asarray(p[...], np.float64) for p in (map_.kernel, map_.bias)]
    for map_ in (codes.inner, codes.logits)
  )
  scores = np.tanh(x @ inner[0] + inner[1]) @ logits[0] + logits[1]
  shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
  x = convolved(shares @ np.asarray(codes.codebook[...]), codes.decoder.conv_in)
  for block in codes.decoder.middle:
    x = residual(x, block)
  coarse, fine = codes.decoder.levels
  for block in coarse:
    x = residual(x, block)
  x = x.repeat(2, axis=1).repeat(2, axis=2)
  x = convolved(x, codes.decoder.doublings[0])
  for block in fine:
    x = residual(x, block)
  assert fine[0].shortcut is not None and coarse[0].shortcut is None
  return convolved(normed(x, codes.decoder.norm), codes.decoder.conv_out)


def build(codes=SIZES, **options):
  return PixelDecoder(
    width=4,
    clip_shape=(2, 4, 4),
    inner_width=8,
    num_heads=2,
    depth=1,
    num_tokens=3,
    codes=codes,
    rngs=nnx.Rngs(params=0),
    **options,
  )


def test_frames_are_those_of_the_reference(rng):
  """One by one, and a frame that is not there is zeros."""
  decoder = drawn(lambda: build(patch=(1, 2, 2)))
  assert decoder.out is None
  mask = np.ones((2, 3), bool)
  features = rng.normal(size=(2, 3, 4)).astype(np.float32)
  tokens = Tokens(features, mask, np.zeros((2, 3, 3)), mask.astype(np.float32))
  frame_mask = np.array([[True, True], [True, False]])

  @jax.jit
  def run(tokens):
    queries, _ = decoder.read(
      decoder.conditioning(tokens), decoder.patch_mask(frame_mask, 2)
    )
    return queries, decoder(tokens, frame_mask=frame_mask)[0]

  queries, made = run(tokens)
  assert made.shape == (2, 2, 4, 4, 3)
  cells = np.asarray(queries, np.float64).reshape(4, 2, 2, 8)
  expected = reference(cells, decoder.codes).reshape(made.shape)
  off = np.abs(np.asarray(made) - expected)[frame_mask]
  assert off.max() < 1e-4 * np.abs(expected).max()
  assert not np.asarray(made[1, 1]).any()


def test_cells_are_patches():
  with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\), got patch"):
    nnx.eval_shape(lambda: build(patch=(2, 2, 2)))
  with pytest.raises(ValueError, match="reads no 'levels'"):
    nnx.eval_shape(lambda: build(patch=(1, 2, 2), codes=dict(levels=2)))
