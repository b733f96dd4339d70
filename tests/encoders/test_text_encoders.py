import jax
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
  ("transformer", {"pool": "last", "causal": True}),
  ("bert", {}),
  # By default it is held to its formulas in tests/interop.
  pytest.param("videoprism", {}, marks=pytest.mark.slow),
  pytest.param("videoprism", {"position": "table"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_padding_words_are_never_read(rng, nnx_mode, name, options):
  encoder, text = build(name, **options), make_text(rng)
  read = jax.jit(encoder)
  features = read(text)
  assert features.shape == (3, 8) and np.isfinite(features).all()
  other = Text(ids=np.where(text.mask, text.ids, 7), mask=text.mask)
  np.testing.assert_array_equal(read(other)[:2], features[:2])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_order_of_words_matters(rng, name, options):
  encoder, text = build(name, **options), make_text(rng)
  ids = text.ids.copy()
  ids[0, [1, 2]] = 5, 9
  swapped = ids.copy()
  swapped[0, [1, 2]] = 9, 5
  read = jax.jit(encoder)
  a, b = (read(Text(ids=x, mask=text.mask))[0] for x in (ids, swapped))
  assert np.abs(a - b).max() > 1e-5


def test_a_causal_tower_reads_nothing_behind_a_word(rng):
  text = make_text(rng)
  read = jax.jit(build("transformer", causal=True, pool="last"))
  features = np.asarray(read(text))
  # Only the first three words of a caption of three are read.
  assert text.mask[1].sum() == 3
  behind, before = text.ids.copy(), text.ids.copy()
  behind[1, 3:] = 9
  before[1, 1] = before[1, 1] % 19 + 1
  behind, before = (
    np.asarray(read(Text(ids=ids, mask=text.mask))) for ids in (behind, before)
  )
  np.testing.assert_array_equal(behind, features)
  assert np.abs(before[1] - features[1]).max() > 1e-5


def test_padding_that_is_read_is_a_word(rng):
  text = make_text(rng)
  tower = jax.jit(build("transformer", pool="last", padding=4))
  filled = Text(
    ids=np.where(text.mask, text.ids, 4), mask=np.ones_like(text.mask)
  )
  plain = jax.jit(build("transformer", pool="last"))
  np.testing.assert_allclose(tower(text), plain(filled), atol=1e-6)
  assert np.abs(tower(text)[1] - plain(text)[1]).max() > 1e-5


def test_a_feature_is_mapped(rng):
  text = make_text(rng)
  tower = build("transformer", outputs=5, outputs_bias=True)
  assert tower.width == 5 and tower.project.bias is not None
  plain = build("transformer", outputs=5)
  assert plain.project.bias is None
  expected = tower.project(jax.jit(build("transformer"))(text))
  assert expected.shape == (3, 5)
  np.testing.assert_allclose(jax.jit(tower)(text), expected, atol=1e-6)


def test_an_unknown_position_is_refused():
  with pytest.raises(ValueError, match="sinusoid, table, got 'rotary'"):
    build("videoprism", position="rotary")


def test_an_unknown_pool_is_refused():
  with pytest.raises(ValueError, match="mean, first, last, got 'max'"):
    build("transformer", pool="max")


def test_too_long_captions_are_refused():
  text = Text(ids=np.zeros((1, 9), np.int32), mask=np.ones((1, 9), bool))
  with pytest.raises(ValueError, match="at most 6 words, got 9"):
    build("transformer")(text)
  with pytest.raises(ValueError, match="at most 6 words, got 9"):
    build("videoprism")(text)
  with pytest.raises(ValueError, match="at most 4, got 6"):
    build("bert", max_length=4)
