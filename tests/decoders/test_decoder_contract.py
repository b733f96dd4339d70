"""What every decoder does, whatever it is."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.decoders import DECODERS
from trajvit.layers.patches import patchify
from trajvit.types import Tokens

WIDTH, SLOTS, CLIP, PATCH = 6, 5, (4, 4, 4), (2, 2, 2)
PATCHES = 8
OPTIONS = dict(
  patch=PATCH, inner_width=8, num_heads=2, depth=1, num_tokens=SLOTS
)
NAMES = sorted(DECODERS)
OWN = {
  "coordinate": dict(fraction=0.5, read_depth=1),
  "flow": dict(steps=2, align_block=0, null_probability=0.5, solver="heun"),
  "pixel": dict(smooth=True, align_block=0, class_token=True),
}
TAILS = ["drop", "mask"]
BOTH = [(name, tail) for name in ("flow", "pixel") for tail in TAILS]
BOTH.append(("coordinate", "drop"))


@functools.cache
def programs(name, tail):
  """A drawn decoder's state, and its calls: training, and without a truth."""
  spec = dict(name=name, tail=tail, **OPTIONS, **OWN[name])
  decoder = drawn(
    lambda: DECODERS.build(
      spec, width=WIDTH, clip_shape=CLIP, rngs=nnx.Rngs(params=0)
    )
  )
  graphdef, state = nnx.split(decoder)

  @jax.jit
  def train(tokens, frames, frame_mask, key):
    def loss(state, features):
      made, aux = nnx.merge(graphdef, state)(
        dataclasses.replace(tokens, features=features),
        frames=frames,
        frame_mask=frame_mask,
        key=key,
      )
      error = jnp.square(aux["predicted"] - aux["target"]).sum(-1)
      return jnp.where(aux["mask"], error, 0).sum(), (made, aux)

    return jax.value_and_grad(loss, (0, 1), has_aux=True)(
      state, tokens.features
    )

  @jax.jit
  def make(tokens, frame_mask, key):
    return nnx.merge(graphdef, state)(tokens, frame_mask=frame_mask, key=key)

  return train, make


def clips(rng):
  """Two clips' tokens, of which 3 and 4 are real, frames, masks and keys."""
  mask = np.arange(SLOTS) < np.array([[3], [4]])
  features = rng.normal(size=(2, SLOTS, WIDTH)).astype(np.float32)
  tokens = Tokens(
    features=np.where(mask[..., None], features, 0),
    mask=mask,
    positions=np.zeros((2, SLOTS, 3), np.float32),
    size=mask.astype(np.float32),
  )
  frames = rng.normal(size=(2, *CLIP, 3)).astype(np.float32)
  frame_mask = np.array([[True] * 4, [True, True, False, False]])
  frames = np.where(frame_mask[:, :, None, None, None], frames, 0)
  return tokens, frames, frame_mask, jax.random.split(jax.random.key(0), 2)


def assert_equal(got, want, **options):
  assert jax.tree.structure(got) == jax.tree.structure(want)
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
    np.testing.assert_allclose(a, b, **options)


def with_nan_in_holes(tokens):
  holes = ~tokens.mask
  return dataclasses.replace(
    tokens,
    features=np.where(holes[..., None], np.nan, tokens.features),
    positions=np.where(holes[..., None], np.nan, tokens.positions),
    size=np.where(holes, np.nan, tokens.size),
  )


@pytest.mark.parametrize(("name", "tail"), BOTH)
def test_masked_tokens_are_never_read(rng, name, tail):
  _, make = programs(name, tail)
  tokens, _, frame_mask, keys = clips(rng)
  want = make(tokens, frame_mask, keys)
  assert_equal(make(with_nan_in_holes(tokens), frame_mask, keys), want)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_is_not_read_in_training(rng, name):
  train, _ = programs(name, "drop")
  tokens, frames, frame_mask, keys = clips(rng)
  want = train(tokens, frames, frame_mask, keys)
  frames = np.where(frame_mask[:, :, None, None, None], frames, np.nan)
  got = train(with_nan_in_holes(tokens), frames, frame_mask, keys)
  assert_equal(got, want)
  gradient = np.asarray(want[1][1])
  assert np.isfinite(gradient).all()
  assert not gradient[~tokens.mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_out(rng, name):
  train, make = programs(name, "drop")
  tokens, frames, frame_mask, keys = clips(rng)
  (_, (made, aux)), (gradients, _) = train(tokens, frames, frame_mask, keys)
  shape = aux["predicted"].shape
  assert shape == aux["target"].shape == (*aux["mask"].shape, 24)
  assert aux["predicted"].dtype == aux["target"].dtype == jnp.float32
  drawn_patches = 4 if name == "coordinate" else PATCHES
  assert shape[:2] == (2, drawn_patches)
  assert (made is None) == (name == "coordinate")
  assert ("hidden" in aux) == (made is not None)
  if made is not None:
    assert aux["hidden"].shape == (2, PATCHES, OPTIONS["inner_width"])
  for path, gradient in jax.tree.leaves_with_path(gradients):
    assert np.any(gradient), f"nothing reaches {jax.tree_util.keystr(path)}"
  whole, aux = make(tokens, frame_mask, keys)
  assert whole.shape == frames.shape and whole.dtype == jnp.float32
  assert aux == {}
  for x in [whole] if made is None else [whole, made]:
    x = np.asarray(x)
    assert np.abs(x[frame_mask]).max() > 1e-3
    assert not x[~frame_mask].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_does_not_depend_on_its_place(rng, name):
  train, make = programs(name, "drop")
  tokens, frames, frame_mask, keys = clips(rng)
  (_, want), _ = train(tokens, frames, frame_mask, keys)
  want_made = make(tokens, frame_mask, keys)
  turned = jax.tree.map(lambda x: x[::-1], (tokens, frames, frame_mask, keys))
  (_, got), _ = train(*turned)
  got_made = make(turned[0], turned[2], turned[3])
  got, got_made = jax.tree.map(lambda x: x[::-1], (got, got_made))
  assert_equal(got, want, atol=1e-5)
  assert_equal(got_made, want_made, atol=1e-5)


@pytest.mark.parametrize(("name", "tail"), BOTH)
def test_a_prefix_is_what_a_masked_tail_is(rng, name, tail):
  _, make = programs(name, tail)
  tokens, _, frame_mask, keys = clips(rng)
  short = jax.tree.map(lambda x: x[:, :4], tokens)
  want, _ = make(tokens, frame_mask, keys)
  got, _ = make(short, frame_mask, keys)
  np.testing.assert_allclose(got, want, atol=1e-5)
  if tail == "mask":  # and a mask token is something
    other, _ = programs(name, "drop")[1](tokens, frame_mask, keys)
    assert np.abs(other - want).max() > 1e-4


@pytest.mark.parametrize("name", ["coordinate", "pixel"])
def test_targets_are_the_pixels(rng, name):
  train, _ = programs(name, "drop")
  tokens, frames, frame_mask, keys = clips(rng)
  (_, (made, aux)), _ = train(tokens, frames, frame_mask, keys)
  truth = patchify(frames, PATCH).reshape(2, PATCHES, -1)
  real = np.repeat(frame_mask[:, ::2], 4, axis=1)
  at = aux.get("indices", np.tile(np.arange(PATCHES), (2, 1)))
  for i in range(2):
    np.testing.assert_array_equal(aux["target"][i], np.array(truth)[i, at[i]])
    np.testing.assert_array_equal(aux["mask"][i], real[i, at[i]])
  if made is not None:
    again = patchify(made, PATCH).reshape(2, PATCHES, -1)
    np.testing.assert_array_equal(aux["predicted"], again)


@pytest.mark.parametrize("name", NAMES)
def test_refuses_what_does_not_fit(rng, name):
  def build(**options):
    spec = dict(name=name, patch=(1, 2, 2)) | options
    return nnx.eval_shape(
      lambda: DECODERS.build(
        spec, width=8, clip_shape=(2, 4, 4), rngs=nnx.Rngs(params=0)
      )
    )

  with pytest.raises(ValueError, match=r"\(2, 3, 2\) must divide the clip"):
    build(patch=(2, 3, 2))
  with pytest.raises(ValueError, match="tail must be one of drop, mask"):
    build(tail="cut")


MORE = {
  "coordinate": dict(planes=(1, 2, 2)),
  "flow": dict(
    prefix=dict(lengths=[0, 2], probabilities=[0.5, 0.5]),
    projected=dict(axes=(1, 2, 3)),
    guidance=2.0,
    stratified=True,
  ),
  "pixel": dict(queries="sincos"),
}


@pytest.mark.parametrize("name", NAMES)
def test_in_both_modes_and_in_bfloat16(rng, nnx_mode, name):
  spec = dict(name=name, remat=True, dtype=jnp.bfloat16) | MORE[name]

  def run(tokens, frames, key):
    decoder = DECODERS.build(
      OPTIONS | spec, width=WIDTH, clip_shape=CLIP, rngs=nnx.Rngs(params=0)
    )
    decoder = nnx.merge(*nnx.split(decoder))
    return decoder(tokens)[0], decoder(tokens, frames=frames, key=key)[1]

  tokens, frames, _, keys = clips(rng)
  made, aux = jax.eval_shape(run, tokens, frames, keys)
  assert made.shape == frames.shape and made.dtype == jnp.float32
  assert aux["predicted"].dtype == aux["target"].dtype == jnp.float32
