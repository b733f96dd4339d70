import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.quantizers.continuous import KlQuantizer, NoQuantizer

MASK = np.ones((2, 5), bool)
MASK[1, 2:] = False


@pytest.fixture
def z(rng):
  return rng.normal(size=(2, 5, 6)).astype(np.float32)


def test_none_is_the_identity(z):
  codes, aux = NoQuantizer(dim=6)(z, MASK)
  np.testing.assert_array_equal(codes, np.where(MASK[..., None], z, 0))
  assert aux == {"losses": {}, "metrics": {}}


def test_the_norm_is_over_channels_and_unbiased(z):
  quantizer = NoQuantizer(norm=True, dim=6)
  codes, _ = jax.jit(lambda z: quantizer(z, MASK))(z)
  expected = (z - z.mean(-1, keepdims=True)) / z.std(-1, ddof=1, keepdims=True)
  np.testing.assert_allclose(codes[MASK], expected[MASK], rtol=1e-4)
  equal = jnp.ones((2, 5, 6))
  gradient = jax.jit(jax.grad(lambda z: quantizer(z, MASK)[0].sum()))(equal)
  assert np.isfinite(gradient).all()


def test_the_divergence_is_that_of_the_formula(z):
  quantizer = KlQuantizer(kl_weight=0.5, dim=6)
  codes, aux = jax.jit(lambda z: quantizer(z, MASK))(z)
  mean, log_variance = z[..., :3], z[..., 3:]
  np.testing.assert_array_equal(codes, np.where(MASK[..., None], mean, 0))
  terms = (mean**2 + np.exp(log_variance) - 1 - log_variance) / 2
  total = np.where(MASK[..., None], terms, 0).sum()
  np.testing.assert_allclose(aux["losses"]["kl"], 0.5 * total / 2, rtol=1e-5)
  bits = terms[MASK].sum(-1).mean() / np.log(2)
  np.testing.assert_allclose(aux["metrics"]["kl_bits"], bits, rtol=1e-5)


def test_training_draws_from_the_gaussian(z):
  quantizer = KlQuantizer(dim=6)
  keys = jax.random.split(jax.random.key(0), 2000)
  draw = jax.jit(jax.vmap(lambda key: quantizer(z, MASK, key=key)[0]))
  codes = np.asarray(draw(keys))
  deviation = np.exp(z[..., 3:] / 2)
  error = (codes.mean(0) - z[..., :3]) / deviation
  np.testing.assert_allclose(error[MASK], 0, atol=0.15)
  ratio = codes.std(0)[MASK] / deviation[MASK]
  np.testing.assert_allclose(ratio, 1, atol=0.1)


def test_the_log_variance_is_cut_off():
  z = np.full((1, 1, 2), 1e4, np.float32)
  call = jax.jit(lambda z: KlQuantizer(dim=2)(z, np.ones((1, 1), bool)))
  _, aux = call(z)
  assert aux["log_variance"] == 20 and np.isfinite(aux["losses"]["kl"])


def test_an_odd_width_is_refused():
  with pytest.raises(ValueError, match="dim must be even"):
    KlQuantizer(dim=5)
  with pytest.raises(ValueError, match="at least 2, got 1"):
    NoQuantizer(norm=True, dim=1)
