import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import CLIP_SHAPE, SIZE

from trajvit.tokenizers.tubelet import TubeletTokenizer


def make(**options):
  options = dict(patch=(2, 16, 16), width=8, clip_shape=CLIP_SHAPE) | options
  return TubeletTokenizer(rngs=nnx.Rngs(params=0), **options)


def floats(clip):
  return dataclasses.replace(clip, frames=clip.frames.astype(np.float32) / 255)


@pytest.mark.parametrize("position", ["factorized", "table"])
def test_a_token_sees_its_own_tubelet(clip, nnx_mode, position):
  tokenizer, clip = make(position=position), floats(clip)
  tokens, _ = tokenizer(clip)
  assert tokens.features.shape == (3, 2 * 2 * 2, 8) and tokens.mask.all()
  frames = clip.frames.copy()
  frames[:, 2:, :16, 16:] += 1  # tubelet (1, 0, 1): raster index 5
  changed, _ = tokenizer(dataclasses.replace(clip, frames=frames))
  moved = np.abs(changed.features - tokens.features).max((0, 2)) > 0
  assert np.flatnonzero(moved).tolist() == [5]
  np.testing.assert_allclose(tokens.positions[0, 5], (0.75, 0.25, 0.75))


def test_every_tubelet_has_its_own_position(clip):
  clip = dataclasses.replace(floats(clip), frames=np.zeros((1, *CLIP_SHAPE, 3)))
  clip = dataclasses.replace(clip, frame_mask=None, tracks=None, times=None)
  for position in ("factorized", "table"):
    rows = np.asarray(make(position=position)(clip)[0].features[0])
    assert len(np.unique(rows.round(6), axis=0)) == len(rows)


@pytest.mark.parametrize("fill", [1e4, np.nan])
def test_a_masked_frame_is_never_read(clip, fill):
  clip = floats(clip)
  mask = clip.frame_mask.copy()
  mask[0, 2:] = False  # the second tubelet layer of clip 0
  mask[1, 3] = False  # half a tubelet
  clip = dataclasses.replace(clip, frame_mask=mask)
  tokenizer = make()

  def loss(frames):
    tokens, _ = tokenizer(dataclasses.replace(clip, frames=frames))
    return jnp.square(tokens.features).sum(), tokens

  dirty = np.where(mask[..., None, None, None], clip.frames, fill)
  (_, clean_tokens), clean = jax.value_and_grad(loss, has_aux=True)(clip.frames)
  (_, tokens), grads = jax.value_and_grad(loss, has_aux=True)(dirty)
  assert tokens.mask[0].tolist() == [True] * 4 + [False] * 4
  assert tokens.mask[1:].all()
  np.testing.assert_array_equal(tokens.features, clean_tokens.features)
  np.testing.assert_array_equal(grads, clean)


def test_errors_say_what_was_expected(clip):
  with pytest.raises(ValueError, match="spatial, table, plane, got 'x'"):
    make(position="x")
  with pytest.raises(ValueError, match=r"\(2, 2, 2\) tubelets"):
    make()(
      dataclasses.replace(
        floats(clip), frames=np.zeros((1, 2, SIZE, SIZE, 3)), frame_mask=None
      )
    )
  with pytest.raises(ValueError, match="must divide the clip"):
    make(patch=(3, 16, 16))(floats(clip))
