"""A packed ViT is the padded one, whatever shares a row."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.data.packing import plan as plan_on_host
from trajvit.encoders import masking
from trajvit.encoders.vit import ViT
from trajvit.ops.attention import AttentionMask, BlockMask
from trajvit.reducers import UniformK
from trajvit.types import PackedGroup, Tokens

PACKING = dict(clips=4, rows=2, length=16)


def make_tokens(rng, batch=8, count=9, width=8, most=7):
  counts = rng.integers(1, most + 1, (batch, 1))
  mask = rng.permuted(np.tile(np.arange(count), (batch, 1)), axis=1) < counts
  return Tokens(
    features=rng.normal(size=(batch, count, width)).astype(np.float32),
    mask=mask,
    positions=rng.random((batch, count, 3)).astype(np.float32),
    size=np.ones((batch, count), np.float32),
  )


def make(**options):
  options = dict(width=8, depth=2, num_heads=2) | options
  return ViT(rngs=nnx.Rngs(params=0), **options)


def run(encoder, tokens):
  return jax.jit(lambda tokens: encoder(tokens))(tokens)


def values_and_gradients(encoder, tokens, weights, layout=None, key=None):
  """Tokens, gradients of a weighted sum of them, and aux."""
  graphdef, state = nnx.split(encoder)

  def loss(state, features):
    clean = dataclasses.replace(tokens, features=features)
    out, aux = nnx.merge(graphdef, state)(clean, layout=layout, key=key)
    return (out.features * weights).sum(), (out, aux)

  run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
  (_, (out, aux)), grads = run(state, tokens.features)
  return out, grads, aux


def assert_close(found, expected, tolerance=1e-5):
  """Equal up to rounding, which is all that a key bias has as its gradient."""
  leaves = jax.tree.leaves(expected)
  largest = max(float(np.abs(x).max()) for x in leaves)
  for x, y in zip(jax.tree.leaves(found), leaves, strict=True):
    scale = max(float(np.abs(y).max()), 0.1 * largest)
    np.testing.assert_allclose(x, y, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize(("batch", "sparse"), [(8, False), (5, True)])
def test_packed_is_padded(rng, nnx_mode, monkeypatch, batch, sparse):
  if sparse:
    monkeypatch.setattr(masking, "SPARSE_FROM", 1)
  tokens = make_tokens(rng, batch)
  weights = rng.normal(size=(batch, 10, 8)).astype(np.float32)
  expected = values_and_gradients(make(), tokens, weights)[:2]
  *found, aux = values_and_gradients(make(packing=PACKING), tokens, weights)
  assert aux["metrics"]["packing/overflow_tokens"] == 0
  assert_close(found, expected)


def test_the_loader_s_layout_is_the_device_s(rng):
  tokens, encoder = make_tokens(rng), make(packing=PACKING)
  weights = rng.normal(size=(8, 10, 8)).astype(np.float32)
  layout = plan_on_host(tokens.mask.sum(1) + 1, PackedGroup(**PACKING))
  *expected, _ = values_and_gradients(encoder, tokens, weights)
  *found, _ = values_and_gradients(make(), tokens, weights, layout)
  assert_close(found, expected, 1e-6)


def test_padding_is_never_read(rng):
  tokens, encoder = make_tokens(rng), make(packing=PACKING)
  weights = rng.normal(size=(8, 10, 8)).astype(np.float32)
  clean = values_and_gradients(encoder, tokens, weights)
  real = tokens.mask[..., None]
  dirty = np.where(real, tokens.features, np.nan).astype(np.float32)
  tokens = dataclasses.replace(tokens, features=dirty)
  found = values_and_gradients(encoder, tokens, weights)
  jax.tree.map(np.testing.assert_array_equal, found, clean)


def test_overflow_is_counted_and_the_class_token_kept(rng):
  tokens = make_tokens(rng, most=9)
  group = dict(clips=4, rows=1, length=16)
  real = tokens.mask.sum() + 8
  out, aux = run(make(packing=group), tokens)
  lost = aux["metrics"]["packing/overflow_tokens"]
  assert 0 < lost == real - out.mask.sum()
  fill = aux["metrics"]["packing/fill_%"]
  np.testing.assert_allclose(fill, 100 * out.mask.sum() / 32, rtol=1e-6)
  with_room = out.mask.any(1)
  assert out.mask[with_room, 0].all() and not out.features[~out.mask].any()


def test_every_stage_can_have_its_own_rows(rng):
  reducers = None, UniformK(k=4), UniformK(k=2)
  options = dict(depth=3, stages=(1, 1, 1), reducers=reducers)
  tokens = make_tokens(rng)
  small = dict(clips=8, rows=1, length=32)
  expected, _ = run(make(**options), tokens)
  packing = [PACKING, small, None]
  found, aux = run(make(packing=packing, **options), tokens)
  assert_close(found, expected)
  slots = 2 * 2 * 16 + 32
  first = tokens.mask.sum() + 8
  second = np.minimum(tokens.mask.sum(1) + 1, 4).sum()
  fill = aux["metrics"]["packing/fill_%"]
  np.testing.assert_allclose(fill, 100 * (first + second) / slots, rtol=1e-6)


def test_long_rows_get_one_list_of_tiles_a_stage(rng, monkeypatch):
  made = []
  build = masking.from_pattern

  def counted(*args, **options):
    made.append(build(*args, **options))
    return made[-1]

  monkeypatch.setattr(masking, "from_pattern", counted)
  tokens = make_tokens(rng, batch=6, count=300, most=300)
  packing = dict(clips=6, rows=1, length=1280)
  encoder = make(depth=2, packing=packing)
  found, aux = run(encoder, tokens)
  assert len(made) == 1 and made[0].classes.shape == (1, 1, 10, 10)
  assert aux["metrics"]["packing/overflow_tokens"] == 0
  assert_close(found, run(make(), tokens)[0])


def test_the_mask_suits_the_length_of_the_row(rng):
  tokens = make_tokens(rng, count=masking.SPARSE_FROM)
  mask = masking.PaddingMask()
  assert isinstance(mask(tokens, registers=0)[1], AttentionMask)
  packed = dataclasses.replace(tokens, segments=np.zeros((8, 1024), np.int32))
  assert isinstance(mask(packed, registers=0)[1], BlockMask)


def test_a_batch_of_unknown_size_stays_padded(rng):
  tokens, encoder = make_tokens(rng), make(packing=PACKING)
  graphdef, state = nnx.split(encoder)
  (batch,) = jax.export.symbolic_shape("b")
  shapes = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((batch, *x.shape[1:]), x.dtype), tokens
  )
  leaves, treedef = jax.tree.flatten(tokens)

  def encode(state, *leaves):
    tokens = jax.tree.unflatten(treedef, leaves)
    return nnx.merge(graphdef, state)(tokens)[0].features

  exported = jax.export.export(jax.jit(encode))(state, *jax.tree.leaves(shapes))
  one = [x[:1] for x in leaves]
  assert_close(exported.call(state, *one), run(encoder, tokens)[0].features[:1])
  assert "while" not in exported.mlir_module()


def test_errors_say_what_was_expected(rng):
  with pytest.raises(ValueError, match="each of the 1 stages, got 2"):
    make(packing=[None, None])
  with pytest.raises(ValueError, match="clips, rows and length, got {'clips'"):
    make(packing=dict(clips=4))
  with pytest.raises(ValueError, match="length must be at least 1, got 0"):
    make(packing=PACKING | dict(length=0))
  tokens = make_tokens(rng, batch=6)
  with pytest.raises(ValueError, match=r"divide the 6 clips .* got \[4\]"):
    make(packing=PACKING)(tokens, key=jax.random.key(0))
  layout = plan_on_host(tokens.mask.sum(1) + 1, PackedGroup(**PACKING))
  with pytest.raises(ValueError, match="a reducer is in front"):
    make(reducers=[UniformK(k=2)])(tokens, layout=layout)
