"""The bottleneck of released weights: no norm, and registers mixed up."""

import numpy as np
import pytest
from flax import nnx

from trajvit.models.build_reconstruction import build_reconstruction
from trajvit.models.reconstruction import Reconstruction
from trajvit.quantizers.continuous import NoQuantizer
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens

N, WIDTH, SHAPE = 3, 6, (1, 8, 8)


class Codes(nnx.Module):
  """A decoder that shows what it reads."""

  def __call__(self, tokens, **_):
    return tokens.features, {}


def run(features, kept):
  mask = np.ones(features.shape[:2], bool)
  tokens = Tokens(
    features=features,
    mask=mask,
    positions=np.zeros((*mask.shape, 3), np.float32),
    size=mask.astype(np.float32),
  )
  model = Reconstruction(
    NoQuantizer(dim=2),
    Codes(),
    width=WIDTH,
    norm=False,
    registers=N,
    rngs=nnx.Rngs(params=0),
  )
  clip = Clip(frames=np.zeros((2, *SHAPE, 3), np.float32))
  kernel = np.asarray(model.down.kernel[...])
  return np.asarray(model(tokens, kept, clip)["frames"]), kernel


def test_a_code_reads_its_channels_of_every_register(rng):
  """And the decoder reads the first codes, which need all registers."""
  x = rng.normal(size=(2, N, WIDTH)).astype(np.float32)
  kept = np.arange(N) < np.array([[1], [3]])
  found, kernel = run(x, kept)
  for n in range(N):
    mixed = [x[:, d // 2, N * (d % 2) + n] for d in range(WIDTH)]
    code = np.stack(mixed, -1) @ kernel
    expected = np.where(kept[:, n, None], code, 0)
    np.testing.assert_allclose(found[:, n], expected, atol=1e-5)


def test_some_of_the_registers_are_not_enough():
  with pytest.raises(ValueError, match="all 3 registers, .* got 2"):
    run(np.zeros((2, 2, WIDTH), np.float32), np.ones((2, 2), bool))


def test_other_tokens_are_not_mixed():
  def build():
    shared = dict(width=8, clip_shape=SHAPE, rngs=nnx.Rngs(params=0))
    return build_reconstruction(
      dim=2,
      quantizer=dict(name="none"),
      decoder=dict(name="pixel", patch=(1, 4, 4), num_heads=2),
      legacy_reshape=True,
      tokenizer=TubeletTokenizer(patch=(1, 4, 4), **shared),
      normalization="unit",
      dtype=np.float32,
      **shared,
    )

  with pytest.raises(ValueError, match="got TubeletTokenizer"):
    nnx.eval_shape(build)
