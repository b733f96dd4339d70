import jax
import numpy as np
import pytest
from flax import nnx

from trajvit.reducers.stts import Stts
from trajvit.types import Tokens

GRID, WIDTH = (4, 3, 4), 8
FRAMES, SIDE = 2, 2


def make_tokens(rng):
  """A class token and 4 frames; the last one of clip 1 is padding."""
  mask = np.ones((2, 49), bool)
  mask[1, 37:] = False
  features = rng.normal(size=(2, 49, WIDTH)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 49, 3)).astype(np.float32),
    size=np.ones((2, 49), np.float32),
    protected=np.broadcast_to(np.arange(49) < 1, (2, 49)),
  )


def make(**options):
  options = dict(k=9, frames=FRAMES, grid=GRID, width=WIDTH) | options
  return Stts(rngs=nnx.Rngs(params=0), **options)


@pytest.fixture(scope="module")
def reducer():
  return make(sigma=1e-6, samples=2)


def test_equals_a_loop(rng, reducer):
  tokens = make_tokens(rng)
  got, aux = jax.jit(lambda x: reducer(x))(tokens)
  assert got.mask.shape == (2, 9) and got.mask.all()
  clean = np.where(tokens.mask[..., None], tokens.features, 0)
  x = clean[:, 1:].reshape(2, 4, 12, WIDTH)
  real = np.array([[1, 1, 1, 1], [1, 1, 1, 0]], bool)
  joint = np.concatenate([x.mean(2), x.max(2)], -1)
  scores = jax.jit(reducer.temporal)(joint, real)
  patch_scores = jax.jit(reducer.spatial)(x, np.ones((2, 4, 12), bool))
  for b in range(2):
    order = [t for t in np.argsort(-scores[b]) if real[b, t]]
    slots = [0]
    for t in sorted(order[:FRAMES]):
      score = np.asarray(patch_scores[b, t]).reshape(3, 4)
      # 3 - 2 and 4 - 2, halved, are at least 1: every window is looked at.
      places = [(y, c) for y in range(2) for c in range(3)]

      def mean(place, score=score):
        return score[place[0] :, place[1] :][:2, :2].mean()

      y, c = max(places, key=mean)
      slots += [1 + 12 * t + 4 * i + j for i in (y, y + 1) for j in (c, c + 1)]
    np.testing.assert_allclose(got.features[b], clean[b, slots], rtol=1e-6)
    np.testing.assert_allclose(
      got.positions[b], tokens.positions[b, slots], rtol=1e-6
    )
  assert aux["frames"].sum((1, 2)).tolist() == [2, 2]

  # Without noise to speak of, training chooses the same.
  soft, _ = jax.jit(lambda x: reducer(x, key=jax.random.key(0)))(tokens)
  np.testing.assert_allclose(soft.features, got.features, atol=1e-5)
  np.testing.assert_array_equal(soft.mask, got.mask)


def test_both_scorers_learn(rng):
  tokens = make_tokens(rng)
  graph, state = nnx.split(make(samples=20, sigma=0.5))

  def loss(state):
    kept, _ = nnx.merge(graph, state)(tokens, key=jax.random.key(0))
    return (kept.features**2).sum()

  gradient = jax.jit(jax.grad(loss))(state)
  for scorer in (gradient["temporal"], gradient["spatial"]):
    kernel = np.asarray(scorer["embed"]["kernel"][...])
    assert np.isfinite(kernel).all() and abs(kernel).max() > 0


@pytest.mark.parametrize(
  ("options", "patches"),
  [
    (dict(k=177, frames=1, grid=(1, 14, 14)), 169),  # 13 x 13, not 176
    (dict(k=25, frames=None), 2 * 12),  # half, and of that all that fits
    (dict(k=25, frames=None, window=2), 4 * 4),
    (dict(k=49, frames=None), 48),
  ],
)
def test_what_is_kept_fits(rng, options, patches):
  tokens = make_tokens(rng)
  if "grid" in options:
    tokens = jax.tree.map(lambda x: np.repeat(x, 5, 1)[:, :197], tokens)
  kept, _ = jax.eval_shape(make(**options), tokens)
  assert kept.mask.shape == (2, 1 + patches)


def test_refuses(rng):
  with pytest.raises(ValueError, match="do not fit into k = 2"):
    jax.eval_shape(make(k=2), make_tokens(rng))
  with pytest.raises(ValueError, match=r"frames must be in \[1, 4\], got 5"):
    make(frames=5)
