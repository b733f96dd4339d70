import numpy as np
import pytest
from flax import nnx

from trajvit.encoders import TEXT_ENCODERS
from trajvit.types import Text

SMALL = dict(width=8, depth=2, num_heads=2, mlp_dim=16)


def build(name, **options):
  return TEXT_ENCODERS.build(
    dict(name=name, **SMALL, **options),
    vocab_size=20,
    text_length=6,
    rngs=nnx.Rngs(params=0),
  )


def make_text(rng):
  ids = rng.integers(1, 20, (3, 6)).astype(np.int32)
  mask = np.arange(6) < np.array([[6], [3], [0]])
  return Text(ids=np.where(mask, ids, 0), mask=mask)


CASES = [
  ("transformer", {}),
  ("transformer", {"pool": "first"}),
  ("bert", {}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_words_are_never_read(rng, nnx_mode, name, options):
  encoder, text = build(name, **options), make_text(rng)
  features = encoder(text)
  assert features.shape == (3, 8) and np.isfinite(features).all()
  other = Text(ids=np.where(text.mask, text.ids, 7), mask=text.mask)
  np.testing.assert_array_equal(encoder(other)[:2], features[:2])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_order_of_words_matters(rng, name, options):
  encoder, text = build(name, **options), make_text(rng)
  ids = text.ids.copy()
  ids[0, [1, 2]] = 5, 9
  swapped = ids.copy()
  swapped[0, [1, 2]] = 9, 5
  a, b = (encoder(Text(ids=x, mask=text.mask))[0] for x in (ids, swapped))
  assert np.abs(a - b).max() > 1e-5


def test_too_long_captions_are_refused():
  text = Text(ids=np.zeros((1, 9), np.int32), mask=np.ones((1, 9), bool))
  with pytest.raises(ValueError, match="at most 6 words, got 9"):
    build("transformer")(text)
  with pytest.raises(ValueError, match="at most 4, got 6"):
    build("bert", max_length=4)
