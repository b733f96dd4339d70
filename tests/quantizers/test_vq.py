"""VQ: losses and codebooks from loops, and how codes come back to life."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.quantizers.vq import VQ, StochasticVQ
from trajvit.training.step import merge

SIZE, DIM = 6, 3
MASK = np.ones((2, 5), bool)
MASK[1, 3:] = False
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def z():
  return np.random.default_rng(0).normal(size=(2, 5, DIM)).astype(np.float32)


def build(cls=VQ, **options):
  """A quantizer of six codes drawn from N(0, 1)."""
  quantizer = cls(size=SIZE, dim=DIM, rngs=nnx.Rngs(params=0), **options)
  first = np.random.default_rng(1).normal(size=(SIZE, DIM))
  quantizer.codebook[...] = jnp.asarray(first, jnp.float32)
  return quantizer


def call(quantizer, z, key=KEY):
  return jax.jit(lambda z: quantizer(z, MASK, key=key))(z)


def after(quantizer, aux):
  """The quantizer once the training step has put the new statistics in."""
  graphdef, params, stats = nnx.split(quantizer, nnx.Param, nnx.BatchStat)
  stats = merge(nnx.to_pure_dict(stats), aux["batch_stats"])
  return nnx.merge(graphdef, nnx.to_pure_dict(params), stats)


def scaled(x):
  return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.mark.parametrize("cosine", [False, True])
def test_codes_and_losses_are_those_of_a_loop(z, cosine):
  quantizer = build(cosine=cosine)
  codes, aux = call(quantizer, z, key=None)
  codebook, x = np.asarray(quantizer.codebook[...]), z[MASK]
  if cosine:
    codebook, x = scaled(codebook), scaled(x)
  nearest = [np.argmin([np.linalg.norm(e - t) for e in codebook]) for t in x]
  np.testing.assert_array_equal(aux["indices"][MASK][:, 0], nearest)
  np.testing.assert_allclose(codes[MASK], codebook[nearest], rtol=1e-6)
  distance = np.square(x - codebook[nearest]).mean()
  np.testing.assert_allclose(aux["losses"]["commit"], distance / 4, rtol=1e-5)
  np.testing.assert_allclose(aux["losses"]["codebook"], distance, rtol=1e-5)
  assert aux["metrics"]["usage"] == pytest.approx(len(set(nearest)) / SIZE)


def test_each_loss_moves_its_own_side(z):
  quantizer = build()
  graphdef, params, rest = nnx.split(quantizer, nnx.Param, ...)

  @jax.jit
  def gradients(params, z):
    def loss(params, z):
      codes, aux = nnx.merge(graphdef, params, rest)(z, MASK)
      return {**aux["losses"], "codes": codes.sum()}

    found = jax.jacrev(loss, argnums=(0, 1))(params, z)
    return {name: (nnx.to_pure_dict(p), g) for name, (p, g) in found.items()}

  found = gradients(params, z)
  moves = {
    name: (bool(p["codebook"].any()), bool(g.any()))
    for name, (p, g) in found.items()
  }
  assert moves == {
    "commit": (False, True),
    "codebook": (True, False),
    "codes": (False, True),
  }
  indices = np.asarray(call(quantizer, z, key=None)[1]["indices"])
  unused = sorted(set(range(SIZE)) - set(indices[MASK].ravel()))
  gradient = np.asarray(found["codebook"][0]["codebook"])
  assert unused and not gradient[unused].any()


def test_an_ema_codebook_moves_to_the_means(z):
  quantizer = build(update="ema", decay=0.8)
  assert not jax.tree.leaves(nnx.state(quantizer, nnx.Param))
  _, aux = call(quantizer, z)
  assert set(aux["losses"]) == {"commit"}
  indices = np.asarray(aux["indices"])[..., 0]
  old, new = quantizer.codebook[...], after(quantizer, aux).codebook[...]
  for c in range(SIZE):
    mine = z[indices == c]
    usage, share = 1 / SIZE, len(mine) / MASK.sum()
    total = 0.8 * usage * old[c] + 0.2 * mine.sum(0) / MASK.sum()
    expected = total / (0.8 * usage + 0.2 * share)
    np.testing.assert_allclose(new[c], expected, rtol=1e-4)


@pytest.mark.parametrize("update", ["gradient", "ema"])
def test_dead_codes_restart_on_tokens(z, update):
  # Two codes are where no token is.
  options = dict(update=update, revive="restart", dead_below=0.9, decay=0.0)
  quantizer = build(**options)
  quantizer.codebook[...] = quantizer.codebook[...].at[2:4].set(100.0)
  _, aux = call(quantizer, z)
  later = after(quantizer, aux)
  places = later.decode_indices(jnp.asarray([[2], [3]]))
  for place in np.asarray(places):
    assert np.isclose(z[MASK], place, atol=1e-4).all(-1).any()
  assert (later.usage[0][...][2:4] == np.float32(1 / SIZE)).all()
  # A codebook that follows gradients is itself left to the optimizer.
  same = (later.codebook[...][2:4] == 100).all()
  assert bool(same) == (update == "gradient")
  assert (later.offset is not None) == (update == "gradient")


def test_cvq_begins_on_tokens(z):
  quantizer = build(revive="cluster")
  _, aux = call(quantizer, z)
  later = after(quantizer, aux)
  used = set(np.asarray(aux["indices"])[MASK].ravel())
  codes = np.asarray(later.decode_indices(jnp.arange(SIZE)[:, None]))
  for c in set(range(SIZE)) - used:
    gap = np.linalg.norm(z[MASK] - codes[c], axis=-1).min()
    assert gap < 0.01
  for c in used:
    np.testing.assert_allclose(codes[c], quantizer.codebook[...][c], atol=1e-3)


def test_stochastic_codes_follow_the_softmax(z):
  quantizer = build(StochasticVQ, temperature=0.5)
  keys = jax.random.split(KEY, 2000)
  draw = jax.jit(jax.vmap(lambda k: quantizer(z, MASK, key=k)[1]["indices"]))
  indices = np.asarray(draw(keys))[..., 0]
  cosine = scaled(z) @ scaled(np.asarray(quantizer.codebook[...])).T
  p = np.exp(cosine / 0.5)
  p /= p.sum(-1, keepdims=True)
  for place in [(0, 0), (0, 4), (1, 2)]:
    found = np.bincount(indices[:, *place], minlength=SIZE) / 2000
    np.testing.assert_allclose(found, p[place], atol=0.05)
  _, aux = call(quantizer, z, key=None)
  nearest = cosine.argmax(-1)[MASK]
  np.testing.assert_array_equal(aux["indices"][MASK][:, 0], nearest)


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(update="momentum"), "update must be one of"),
    (dict(revive="often"), "revive must be one of"),
    (dict(size=1), "at least 2 codes"),
    (dict(decay=-0.1), r"decay must be in \[0, 1\)"),
  ],
)
def test_what_cannot_be_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    VQ(dim=DIM, rngs=nnx.Rngs(params=0), **options)
