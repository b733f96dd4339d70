"""What holds for every quantizer; a new one is tested here by its line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.quantizers import QUANTIZERS
from trajvit.training.step import merge

# case: (name, options, dim)
CASES = {
  "none": ("none", dict(norm=True), 4),
  "kl": ("kl", {}, 4),
  "fsq": ("fsq", dict(levels=(8, 5, 3)), 3),
  "vq_cosine_restart": (
    "vq",
    dict(size=8, cosine=True, revive="restart", dead_below=0.5, decay=0.1),
    4,
  ),
  "vq_ema_restart": (
    "vq",
    dict(size=8, update="ema", revive="restart", dead_below=0.5, decay=0.1),
    4,
  ),
  "vq_cluster": ("vq", dict(size=8, revive="cluster"), 4),
  "stochastic_vq": ("stochastic_vq", dict(size=8, temperature=1.0), 4),
  "residual_vq": ("residual_vq", dict(depth=3, vq=dict(size=8)), 4),
  "lfq": ("lfq", {}, 5),
  "bsq": ("bsq", {}, 20),  # more bits than one index has
  "product": ("product", dict(inner=dict(name="vq", size=8)), 4),
  "channel_split": (
    "channel_split",
    dict(inner=dict(name="fsq", levels=(4, 3))),
    4,
  ),
  "factorized": ("factorized", dict(vq=dict(size=8)), 4),
}
CONTINUOUS = {"none", "kl"}
DRAWS = {"kl", "stochastic_vq"}  # codes, in training


def test_every_quantizer_has_a_case():
  assert {name for name, _, _ in CASES.values()} == set(QUANTIZERS)


def build(case):
  name, options, dim = CASES[case]
  return QUANTIZERS.build(
    {"name": name, **options}, dim=dim, rngs=nnx.Rngs(params=0)
  )


def inputs(dim):
  """A whole clip, and one with padding; vectors of length about 2."""
  z = np.random.default_rng(0).normal(size=(2, 6, dim)).astype(np.float32)
  mask = np.ones((2, 6), bool)
  mask[1, [0, 3, 4]] = False
  return jnp.asarray(z), jnp.asarray(mask)


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request):
  """A name, its quantizer, and its compiled calls with and without a key.

  Both in one program, with the gradients of everything that can be trained.
  """
  quantizer = build(request.param)
  graphdef, params, stats = nnx.split(quantizer, nnx.Param, nnx.BatchStat)

  def loss(params, z, mask, key):
    module = nnx.merge(graphdef, params, stats)
    codes, aux = module(z, mask, key=key)
    target = jnp.cos(jnp.arange(codes.size)).reshape(codes.shape)
    value = jnp.square(codes - target).sum() + sum(aux["losses"].values(), 0.0)
    return value, (codes, aux)

  @jax.jit
  def compiled(z, mask, key):
    gradient = jax.grad(loss, argnums=(0, 1), has_aux=True)
    found = {}
    for name, own in (("inference", None), ("training", key)):
      grads, (codes, aux) = gradient(params, z, mask, own)
      found[name] = {"grads": grads, "codes": codes, "aux": aux}
      if "indices" in aux:
        found[name]["decoded"] = quantizer.decode_indices(aux["indices"])
    return found

  return request.param, quantizer, compiled


KEY = jax.random.key(0)


def test_codes_are_well_formed(case):
  name, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  for training, found in compiled(z, mask, KEY).items():
    codes, aux = np.asarray(found["codes"]), found["aux"]
    assert codes.shape == (2, 6, quantizer.code_dim)
    assert codes.dtype == np.float32
    assert not codes[~np.asarray(mask)].any() and np.isfinite(codes).all()
    assert ("batch_stats" in aux) == (
      training == "training" and name not in CONTINUOUS
    )
    for value in [*aux["losses"].values(), *aux["metrics"].values()]:
      assert value.shape == () and np.isfinite(value)


def test_indices_stand_for_the_codes(case):
  name, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  if name in CONTINUOUS:
    assert quantizer.sizes == () and quantizer.bits is None
    assert "indices" not in compiled(z, mask, KEY)["training"]["aux"]
    with pytest.raises(ValueError, match="no indices"):
      quantizer.decode_indices(jnp.zeros((2, 1), jnp.int32))
    return
  assert quantizer.bits == pytest.approx(np.log2(quantizer.sizes).sum())
  for found in compiled(z, mask, KEY).values():
    indices = np.asarray(found["aux"]["indices"])
    assert indices.shape == (2, 6, len(quantizer.sizes))
    assert indices.dtype == np.int32
    real = indices[np.asarray(mask)]
    assert (indices[~np.asarray(mask)] == -1).all()
    assert (real >= 0).all() and (real < np.asarray(quantizer.sizes)).all()
    np.testing.assert_array_equal(found["decoded"], found["codes"])
  count = len(quantizer.sizes) + 1
  with pytest.raises(ValueError, match="indices must be"):
    quantizer.decode_indices(jnp.zeros((2, count), jnp.int32))


def test_what_fills_masked_slots_is_not_read(case):
  _, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  clean = compiled(z, mask, KEY)
  dirty = compiled(jnp.where(mask[..., None], z, jnp.nan), mask, KEY)
  leaves = jax.tree.leaves(clean), jax.tree.leaves(dirty)
  for x, y in zip(*leaves, strict=True):
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x, y)


def test_the_encoder_gets_a_gradient(case):
  _, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  for found in compiled(z, mask, KEY).values():
    gradient = np.asarray(found["grads"][1])
    assert (np.abs(gradient).sum(-1) > 0).tolist() == np.asarray(mask).tolist()


def test_statistics_have_the_paths_of_their_variables(case):
  name, quantizer, compiled = case
  if name in CONTINUOUS:
    pytest.skip("has none")
  z, mask = inputs(quantizer.dim)
  new = compiled(z, mask, KEY)["training"]["aux"]["batch_stats"]
  old = nnx.to_pure_dict(nnx.state(quantizer, nnx.BatchStat))
  merged = merge(old, new)
  shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (old, merged))
  assert shapes[0] == shapes[1]
  changed = jax.tree.map(lambda x, y: bool((x != y).any()), old, merged)
  assert all(jax.tree.leaves(changed))


def test_only_some_draw_and_only_in_training(case):
  name, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  one = compiled(z, mask, KEY)
  other = compiled(z, mask, jax.random.key(1))
  np.testing.assert_array_equal(
    one["inference"]["codes"], other["inference"]["codes"]
  )
  same = (one["training"]["codes"] == other["training"]["codes"]).all()
  assert bool(same) == (name not in DRAWS)


def test_a_batch_without_a_real_token(case):
  _, quantizer, compiled = case
  z, mask = inputs(quantizer.dim)
  found = compiled(z, jnp.zeros_like(mask), KEY)
  for x in jax.tree.leaves(found):
    assert np.isfinite(x).all()
  stats = found["training"]["aux"].get("batch_stats", {})
  old = nnx.to_pure_dict(nnx.state(quantizer, nnx.BatchStat))
  for x, y in zip(
    jax.tree.leaves(merge(old, stats)), jax.tree.leaves(old), strict=True
  ):
    np.testing.assert_array_equal(x, y)


@pytest.mark.slow
def test_compiled_is_eager():
  quantizer = build("fsq")
  z, mask = inputs(quantizer.dim)
  eager = quantizer(z, mask)
  compiled = jax.jit(lambda z: quantizer(z, mask))(z)
  for x, y in zip(
    jax.tree.leaves(eager), jax.tree.leaves(compiled), strict=True
  ):
    np.testing.assert_allclose(x, y, atol=1e-6)


def test_codes_keep_the_dtype_of_the_vectors():
  quantizer = build("fsq")
  z, mask = inputs(quantizer.dim)

  @jax.jit
  def call(z):
    codes, aux = quantizer(z, mask)
    return codes, quantizer.decode_indices(aux["indices"])

  codes, decoded = call(z.astype(jnp.bfloat16))
  assert codes.dtype == jnp.bfloat16
  np.testing.assert_array_equal(codes, decoded.astype(jnp.bfloat16))


def test_shapes_that_do_not_fit_are_refused():
  quantizer = build("fsq")
  z, mask = inputs(4)
  with pytest.raises(ValueError, match=r"z must be \(2, 6, 3\)"):
    quantizer(z, mask)


@pytest.mark.parametrize("name", sorted(CASES))
def test_both_modes_of_nnx(name, nnx_mode):
  graphdef, state = nnx.split(nnx.eval_shape(lambda: build(name)))

  def call(state, z, mask, key):
    return nnx.merge(graphdef, state)(z, mask, key=key)

  z, mask = inputs(CASES[name][2])
  codes, _ = jax.eval_shape(call, state, z, mask, KEY)
  assert codes.shape[:2] == mask.shape
