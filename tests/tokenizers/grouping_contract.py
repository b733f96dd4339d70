"""What every tokenizer that groups cells must do, one compilation for all."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tiny import CLIP_SHAPE, SIZE, TRACKS

from trajvit.tokenizers import TOKENIZERS

# A stem that compiles fast: one stage, cells of 4 pixels.
STEM = dict(name="conv", widths=(8,), depths=(1,))

# Tests compile much and run little: XLA's optimisations do not pay.
compiled = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def build(name, **options):
  """A tiny tokenizer, from the context that a model offers."""
  context = dict(
    width=16, num_heads=2, clip_shape=CLIP_SHAPE, max_tracks=TRACKS
  )
  spec = dict(name=name, **options)
  return TOKENIZERS.build(spec, rngs=nnx.Rngs(params=0), **context)


def prepared(clip, cells=SIZE // 4):
  """`clip` with float frames and tracks on twice as many cells as asked."""
  frames = clip.frames.astype(np.float32) / 127.5 - 1
  tracks = clip.tracks[:, :, : 2 * cells, : 2 * cells]
  return dataclasses.replace(clip, frames=frames, tracks=tracks)


class Step:
  """A compiled tokenizer, with gradients of a loss on all of its tokens."""

  def __init__(self, tokenizer):
    graphdef, self.state = nnx.split(tokenizer)

    def loss(state, frames, clip):
      clip = dataclasses.replace(clip, frames=frames)
      tokens, aux = nnx.merge(graphdef, state)(clip)
      # Uneven, so that no norm at the end can make it a constant.
      weights = jnp.sin(jnp.arange(tokens.features.shape[-1]))
      total = jnp.square(tokens.features @ weights).sum()
      total += jnp.square(tokens.positions).sum() + tokens.size.sum()
      return total, (tokens, aux)

    self.step = compiled(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))

  def __call__(self, clip):
    """Returns tokens and aux."""
    return self.step(self.state, clip.frames, clip)[0][1]

  def gradients(self, clip):
    """Returns those of the parameters and of the frames."""
    return self.step(self.state, clip.frames, clip)[1]


def check_slots(tokens, count):
  """Masked slots are zeros, positions lie in [0, 1], real tokens are some."""
  assert tokens.features.shape == (3, count, 16)
  assert tokens.mask.any(1).all()
  for part in (tokens.features, tokens.positions, tokens.size[..., None]):
    assert np.isfinite(part).all()
    assert not np.any(np.asarray(part)[~np.asarray(tokens.mask)])
  assert (tokens.positions >= 0).all() and (tokens.positions <= 1).all()
  assert (np.asarray(tokens.size)[np.asarray(tokens.mask)] > 0).all()


def check_traces(tokenizer, clip, count):
  """Traces, in whatever mode Flax is in, to so many tokens."""
  tokens, _ = jax.eval_shape(lambda clip: tokenizer(clip), clip)
  assert tokens.features.shape == (3, count, 16)


def check_padding_is_never_read(step, clip):
  """Whatever fills masked frames changes no output and no gradient."""
  mask = clip.frame_mask.copy()
  mask[0, 2:], mask[1, :2] = False, False
  clip = dataclasses.replace(clip, frame_mask=mask)
  hidden = ~mask[..., None, None]
  expected, clean = step(clip), step.gradients(clip)
  for fill in (1e4, np.nan):
    dirty = dataclasses.replace(
      clip,
      frames=np.where(hidden[..., None], fill, clip.frames).astype(np.float32),
      tracks=np.where(hidden, 3, clip.tracks),
    )
    jax.tree.map(np.testing.assert_array_equal, step(dirty), expected)
    jax.tree.map(np.testing.assert_array_equal, step.gradients(dirty), clean)
  tokens, aux = expected
  if "assignment" in aux:
    np.testing.assert_array_equal(
      aux["assignment"] < 0, np.broadcast_to(hidden, aux["assignment"].shape)
    )
  middles = (np.arange(mask.shape[1]) + 0.5) / mask.shape[1]
  times = np.asarray(tokens.positions[..., 0])
  assert (times[0][np.asarray(tokens.mask[0])] < middles[2]).all()
  assert (times[1][np.asarray(tokens.mask[1])] > middles[1]).all()


def check_nothing_real(step, clip):
  """A batch without real frames or tracks: no tokens, finite gradients."""
  empty = dataclasses.replace(
    clip,
    frame_mask=np.zeros_like(clip.frame_mask),
    tracks=np.full_like(clip.tracks, -1),
  )
  tokens, _ = step(empty)
  assert not tokens.mask.any()
  assert not any(np.any(x) for x in jax.tree.leaves(tokens))
  grads = step.gradients(empty)
  assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def check_permuted_tracks(step, clip, order, frames=1):
  """Renaming tracks permutes tokens, inside of each of so many frames."""
  tracks = np.where(clip.tracks < 0, -1, order[clip.tracks]).astype(np.int32)
  before, after = step(clip)[0], step(dataclasses.replace(clip, tracks=tracks))
  where = (np.arange(frames)[:, None] * len(order) + order).ravel()
  for a, b in zip(
    jax.tree.leaves(before), jax.tree.leaves(after[0]), strict=True
  ):
    np.testing.assert_allclose(a, b[:, where], atol=1e-5)


def check_clips_do_not_meet(step, clip):
  """Other clips of the batch change nothing in a clip."""
  frames = clip.frames.copy()
  frames[1] = -3 * frames[1] + 1
  changed = step(dataclasses.replace(clip, frames=frames))
  for a, b in zip(
    jax.tree.leaves(step(clip)), jax.tree.leaves(changed), strict=True
  ):
    np.testing.assert_allclose(a[::2], b[::2], atol=1e-6)


def check_all_parameters_learn(step, clip):
  """Every parameter gets a gradient that is finite and not zero."""
  gradients, _ = step.gradients(clip)
  for path, grad in nnx.to_flat_state(gradients):
    assert np.isfinite(grad[...]).all(), path
    assert np.any(grad[...]), path


class GroupingContract:
  """Tests for every such tokenizer; a file subclasses it and has `step`."""

  def test_padding_is_never_read(self, step, clip):
    check_padding_is_never_read(step, clip)

  def test_nothing_real(self, step, clip):
    check_nothing_real(step, clip)

  def test_clips_do_not_meet(self, step, clip):
    check_clips_do_not_meet(step, clip)

  def test_all_parameters_learn(self, step, clip):
    check_all_parameters_learn(step, clip)


# Plain NumPy, for the loops of several tests.


def array(variable):
  return np.asarray(variable[...], np.float64)


def linear(layer, x):
  y = x @ array(layer.kernel)
  return y if layer.bias is None else y + array(layer.bias)


def layer_norm(layer, x):
  x = x - x.mean(-1, keepdims=True)
  x = x / np.sqrt((x**2).mean(-1, keepdims=True) + layer.epsilon)
  return x * array(layer.scale) + array(layer.bias)


def softmax(x):
  x = np.exp(x - x.max())
  return x / x.sum()


def attend(query, key, value, heads, seen):
  """One query and one head at a time; [Q, D] from [Q, D], [K, D] and [K, D]."""
  out = np.zeros_like(query)
  dim = query.shape[-1] // heads
  for i in range(len(query)):
    for h in range(heads):
      part = slice(h * dim, (h + 1) * dim)
      weights = softmax(key[seen][:, part] @ query[i, part] / np.sqrt(dim))
      out[i, part] = weights @ value[seen][:, part]
  return out
