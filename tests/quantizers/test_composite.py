"""Quantizers made of others, against their parts one by one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.quantizers import QUANTIZERS
from trajvit.quantizers.discrete import worst

MASK = np.ones((2, 4), bool)
MASK[1, 2:] = False
DIM = 6


@pytest.fixture(scope="module")
def z():
  rng = np.random.default_rng(0)
  z = rng.normal(size=(2, 4, DIM)).astype(np.float32)
  return jnp.asarray(np.where(MASK[..., None], z, 0))


def build(name, **options):
  """A quantizer whose codebooks are drawn from N(0, 1)."""
  spec = {"name": name, **options}
  quantizer = QUANTIZERS.build(spec, dim=DIM, rngs=nnx.Rngs(params=0))
  rng = np.random.default_rng(1)
  params = nnx.state(quantizer, nnx.Param)
  params = jax.tree.map(
    lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), params
  )
  nnx.update(quantizer, params)
  return quantizer


def test_residual_codes_are_those_of_a_loop(z):
  quantizer = build("residual_vq", depth=3, vq=dict(size=5))
  codes, aux = jax.jit(lambda z: quantizer(z, MASK))(z)
  commit = 0
  left, total = np.asarray(z), 0
  for j, part in enumerate(quantizer.parts):
    codebook = np.asarray(part.codebook[...])
    gap = np.square(left[..., None, :] - codebook).sum(-1)
    nearest = gap.argmin(-1)
    np.testing.assert_array_equal(
      aux["indices"][..., j], np.where(MASK, nearest, -1)
    )
    e = codebook[nearest]
    commit += 0.25 * np.square(left - e)[MASK].mean()
    left, total = left - e, total + e
  expected = np.where(MASK[..., None], total, 0)
  np.testing.assert_allclose(codes, expected, atol=1e-5)
  np.testing.assert_allclose(aux["losses"]["commit"], commit, rtol=1e-5)
  gradient = jax.jit(jax.grad(lambda z: quantizer(z, MASK)[0].sum()))(z)
  np.testing.assert_array_equal(gradient, MASK[..., None] * np.ones(DIM))


@pytest.mark.parametrize(
  "name, inner",
  [
    ("product", dict(name="vq", size=5)),
    ("product", dict(name="residual_vq", depth=2, vq=dict(size=5))),
    ("channel_split", dict(name="lfq")),
  ],
)
def test_a_product_is_its_parts(z, name, inner):
  quantizer = build(name, groups=3, inner=inner)

  @jax.jit
  def call(z):
    groups = jnp.split(z, 3, axis=-1)
    parts = zip(quantizer.parts, groups, strict=True)
    return quantizer(z, MASK), [part(group, MASK) for part, group in parts]

  (codes, aux), found = call(z)
  np.testing.assert_array_equal(
    codes, jnp.concatenate([c for c, _ in found], -1)
  )
  indices = [own["indices"] for _, own in found]
  np.testing.assert_array_equal(aux["indices"], jnp.concatenate(indices, -1))
  assert quantizer.sizes == sum((part.sizes for part in quantizer.parts), ())
  for loss, value in aux["losses"].items():
    expected = sum(own["losses"][loss] for _, own in found)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
  usage = min(own["metrics"]["usage"] for _, own in found)
  np.testing.assert_array_equal(aux["metrics"]["usage"], usage)


def test_statistics_of_parts_in_parts_have_their_paths(z):
  inner = dict(name="residual_vq", depth=2, vq=dict(size=5))
  quantizer = build("product", groups=2, inner=inner)
  key = jax.random.key(0)
  _, aux = jax.eval_shape(lambda z: quantizer(z, MASK, key=key), z)
  old = nnx.to_pure_dict(nnx.state(quantizer, nnx.BatchStat))
  assert jax.tree.structure(old) == jax.tree.structure(aux["batch_stats"])


def test_a_product_of_continuous_parts_is_continuous(z):
  quantizer = build("product", groups=3, inner=dict(name="kl"))
  codes, aux = jax.jit(lambda z: quantizer(z, MASK))(z)
  assert codes.shape == (2, 4, 3) and quantizer.code_dim == 3
  assert "indices" not in aux and quantizer.bits is None
  np.testing.assert_allclose(codes, z[..., ::2])


def test_disentangling_is_the_mean_over_tokens_and_pairs(z):
  quantizer = build("factorized", groups=3, vq=dict(size=5))
  graphdef, params, rest = nnx.split(quantizer, nnx.Param, ...)

  def loss(params):
    _, aux = nnx.merge(graphdef, params, rest)(z, MASK)
    return aux["losses"]["disentangle"], aux["indices"]

  step = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, indices), gradient = step(params)
  assert all(np.asarray(x).any() for x in jax.tree.leaves(gradient))
  books = [np.asarray(part.codebook[...]) for part in quantizer.parts]
  books = [e / np.linalg.norm(e, axis=-1, keepdims=True) for e in books]
  squared = [
    (books[g][row[g]] @ books[h][row[h]]) ** 2
    for row in np.asarray(indices)[MASK]
    for g, h in itertools.combinations(range(3), 2)
  ]
  np.testing.assert_allclose(value, np.mean(squared), rtol=1e-5)


def test_metrics_are_those_of_the_worst():
  found = worst([{"usage": 0.5, "dead": 0.1}, {"usage": 0.9, "dead": 0.4}])
  assert found == pytest.approx({"usage": 0.5, "dead": 0.4})


@pytest.mark.parametrize(
  "name, options, message",
  [
    ("product", dict(groups=4), "groups must divide the dim 6"),
    ("product", dict(inner=dict(name="product")), "unknown quantizer of a"),
    ("channel_split", dict(inner=dict(name="vq")), "fsq or lfq"),
    ("factorized", dict(groups=1), "at least 2"),
    ("factorized", dict(vq=dict(update="ema")), 'update="gradient"'),
    ("residual_vq", dict(depth=0), "depth must be at least 1"),
    ("residual_vq", dict(vq=dict(cosine=True)), "cosine=False"),
  ],
)
def test_what_cannot_be_is_refused(name, options, message):
  spec = {"name": name, **options}
  with pytest.raises(ValueError, match=message):
    QUANTIZERS.build(spec, dim=DIM, rngs=nnx.Rngs(params=0))
