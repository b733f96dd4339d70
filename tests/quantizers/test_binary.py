"""LFQ and BSQ against all their codes, one by one."""

import functools
import itertools

import jax
import numpy as np
import pytest

from trajvit.quantizers.binary import BSQ, LFQ

BITS = 6


@pytest.fixture(scope="module")
def z():
  rng = np.random.default_rng(0)
  return rng.normal(size=(2, 5, BITS)).astype(np.float32)


MASK = np.ones((2, 5), bool)
MASK[1, 3:] = False


def call(quantizer, z, mask=MASK):
  return jax.jit(lambda z: quantizer(z, mask))(z)


def entropies(logits):
  """E[H(p)] and H(E[p]) of tokens, from the logits [N, 2^L] of their codes."""
  p = np.exp(logits - logits.max(-1, keepdims=True))
  p /= p.sum(-1, keepdims=True)
  terms = [-(q * np.log(np.where(q > 0, q, 1))).sum(-1) for q in (p, p.mean(0))]
  return terms[0].mean(), terms[1]


def test_lfq_equals_brute_force(z):
  quantizer = LFQ(
    temperature=2.0, gamma=0.7, entropy_weight=0.3, commit_weight=0.5, dim=BITS
  )
  codes, aux = call(quantizer, z)
  table = np.asarray(list(itertools.product([-1, 1], repeat=BITS)))
  x = z[MASK].astype(np.float64)
  squared = np.square(x[:, None] - table).sum(-1)  # [N, 2^L]
  own, mean = entropies(-squared / 2.0)
  np.testing.assert_allclose(
    aux["losses"]["entropy"], 0.3 * (own - 0.7 * mean), atol=1e-5
  )
  nearest = table[squared.argmin(-1)]
  np.testing.assert_array_equal(np.asarray(codes)[MASK], nearest)
  np.testing.assert_allclose(
    aux["losses"]["commit"], 0.5 * np.square(x - nearest).mean(), rtol=1e-5
  )
  expected = ((nearest > 0) * 2 ** np.arange(BITS)).sum(-1)
  np.testing.assert_array_equal(aux["indices"][MASK][:, 0], expected)
  bias = np.abs((nearest > 0).mean(0) - 0.5).max()
  np.testing.assert_allclose(aux["metrics"]["bit_bias"], bias, atol=1e-6)


def test_bsq_equals_brute_force(z):
  quantizer = BSQ(sharpness=5.0, gamma=0.7, joint_bits=BITS, dim=BITS)
  codes, aux = call(quantizer, z)
  table = np.asarray(list(itertools.product([-1, 1], repeat=BITS)))
  table = table / np.sqrt(BITS)
  u = z[MASK] / np.linalg.norm(z[MASK], axis=-1, keepdims=True)
  own, mean = entropies(5.0 * u @ table.T)
  np.testing.assert_allclose(
    aux["losses"]["entropy"], 0.1 * (own - 0.7 * mean), atol=1e-5
  )
  assert "commit" not in aux["losses"]
  found = np.asarray(codes)[MASK]
  np.testing.assert_allclose(found, table[(u @ table.T).argmax(-1)], atol=1e-6)
  np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-6)


def test_the_gradient_of_bsq_is_that_of_the_sphere(z):
  quantizer = BSQ(dim=BITS)
  weight = np.arange(BITS, dtype=np.float32)

  @jax.jit
  @jax.grad
  def gradient(z):
    return (quantizer(z, MASK)[0] * weight).sum()

  norm = np.linalg.norm(z, axis=-1, keepdims=True)
  u = z / norm
  expected = (weight - (u * weight).sum(-1, keepdims=True) * u) / norm
  expected = np.where(MASK[..., None], expected, 0)
  np.testing.assert_allclose(gradient(z), expected, atol=1e-5)


@pytest.mark.parametrize("bits", [2, 18])
def test_the_distance_on_the_sphere_is_bounded(bits, rng):
  x = rng.normal(size=(4000, bits)).astype(np.float32)
  u = x / np.linalg.norm(x, axis=-1, keepdims=True)
  codes, _ = call(BSQ(dim=bits), x, np.ones(4000, bool))
  distance = np.linalg.norm(codes - u, axis=-1).mean()
  assert 0.3 < distance < np.sqrt(2 - 2 / np.sqrt(bits))


def test_zero_counts_as_positive():
  quantizer = LFQ(dim=2)
  z = np.asarray([[0.0, -1.0]], np.float32)
  codes, aux = call(quantizer, z, np.ones(1, bool))
  assert codes.tolist() == [[1, -1]] and aux["indices"].tolist() == [[1]]


def test_many_bits_have_several_indices(rng):
  quantizer = LFQ(joint_bits=1, dim=37)
  assert quantizer.sizes == (2**12, 2**12, 2**13)
  assert quantizer.bits == 37
  z = rng.normal(size=(3, 37)).astype(np.float32)
  codes, aux = call(quantizer, z, np.ones(3, bool))
  first = ((z[:, :12] > 0) * 2 ** np.arange(12)).sum(-1)
  np.testing.assert_array_equal(aux["indices"][:, 0], first)
  np.testing.assert_array_equal(
    quantizer.decode_indices(aux["indices"]), np.sign(z)
  )
  np.testing.assert_array_equal(codes, np.sign(z))


@pytest.mark.parametrize(
  "build, message",
  [
    (functools.partial(LFQ, temperature=0.0), "temperature must be above 0"),
    (functools.partial(BSQ, sharpness=0.0), "sharpness must be above 0"),
    (functools.partial(LFQ, joint_bits=0), "joint_bits must be at least 1"),
    (functools.partial(LFQ, decay=1.0), r"decay must be in \[0, 1\)"),
  ],
)
def test_what_cannot_be_is_refused(build, message):
  with pytest.raises(ValueError, match=message):
    build(dim=4)
