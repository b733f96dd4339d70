import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders.vit import ViT
from trajvit.reducers.representation_shift import RepresentationShift
from trajvit.types import Tokens


def make(**options):
  options = dict(width=8, num_heads=2, depth=4, stages=(2, 2)) | options
  return ViT(rngs=nnx.Rngs(params=0), **options)


def test_padding_is_not_read_and_its_parameters_are_stacked(rng):
  mask = np.ones((2, 9), bool)
  mask[1, 4:] = False
  features = rng.normal(size=(2, 9, 8)).astype(np.float32)
  tokens = Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=np.zeros((2, 9, 3), np.float32),
    size=np.ones((2, 9), np.float32),
  )
  encoder = make(mixture_of_depths=dict(capacity=0.25), proportional=True)
  out, _ = jax.jit(lambda x: encoder(x))(tokens)
  assert out.mask.shape == (2, 10) and np.isfinite(out.features).all()
  assert not out.features[1, 5:].any()
  assert encoder.stages[0].layers.router.kernel[...].shape == (1, 8, 1)


@pytest.mark.parametrize(
  "options",
  [
    dict(stages=(1, 3)),
    dict(attention={"name": "token_sparse", "keep": 2}),
    dict(reducers=[None, RepresentationShift(k=2)]),
  ],
)
def test_refuses(options):
  with pytest.raises(ValueError, match="mixture_of_depths"):
    make(mixture_of_depths={}, **options)
