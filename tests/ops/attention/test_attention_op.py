import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import FILLS

from trajvit.ops.attention import AttentionMask, attend, attention
from trajvit.ops.attention.sparse import BACKENDS

# cuDNN and splash have tests of their own: they do not do every call.
IMPLEMENTATIONS = ("auto", "reference", *BACKENDS)


def slow(query, key, value, allowed, bias, scale):
  """Attention one query at a time, in float64."""
  query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
  out = np.zeros_like(query)
  for b, n, h in np.ndindex(query.shape[:3]):
    keys = np.flatnonzero(allowed[b, n])
    if len(keys):
      logits = scale * key[b, keys, h] @ query[b, n, h] + bias[b, keys]
      weights = np.exp(logits - logits.max())
      out[b, n, h] = weights @ value[b, keys, h] / weights.sum()
  return out


def inputs(rng, batch=2, queries=5, keys=7, heads=3, dim=4):
  query = rng.normal(size=(batch, queries, heads, dim)).astype(np.float32)
  key, value = rng.normal(size=(2, batch, keys, heads, dim)).astype(np.float32)
  return query, key, value


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_equals_a_loop_with_mask_segments_and_bias(rng, implementation):
  query, key, value = inputs(rng)
  mask = AttentionMask(
    keys=rng.random((2, 7)) < 0.7,
    query_segments=rng.integers(0, 3, (2, 5)),
    key_segments=rng.integers(0, 2, (2, 7)),
  )
  bias = rng.normal(size=(2, 7)).astype(np.float32)
  allowed = np.asarray(mask.allowed())[:, 0]
  assert not allowed.any(-1).all()  # some query may read nothing
  got = attend(
    query,
    key,
    value,
    mask=mask,
    bias=bias,
    implementation=implementation,
    interpret=True,
  )
  expected = slow(query, key, value, allowed, bias, scale=0.5)
  np.testing.assert_allclose(got.out, expected, atol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("fill", FILLS)
def test_padding_keys_are_never_read(rng, implementation, fill):
  query, key, value = inputs(rng)
  real = np.array([[True] * 4 + [False] * 3, [True] * 7])

  def loss(query, key, value):
    mask = AttentionMask(keys=real)
    attended = attend(
      query,
      key,
      value,
      mask=mask,
      implementation=implementation,
      interpret=True,
    )
    return jnp.square(attended.out).sum()

  clean = jax.value_and_grad(loss, (0, 1, 2))(query, key, value)
  key, value = (np.where(real[..., None, None], x, fill) for x in (key, value))
  dirty = jax.value_and_grad(loss, (0, 1, 2))(query, key, value)
  for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_query_without_keys_is_zero_with_zero_gradient(rng):
  query, key, value = inputs(rng)
  mask = AttentionMask(keys=np.zeros((2, 7), bool))
  out, pull = jax.vjp(lambda *x: attention(*x, mask=mask), query, key, value)
  assert not np.any(out)
  assert all(not np.any(g) for g in pull(jnp.ones_like(out)))


def test_bias_of_log_two_counts_a_key_twice(rng):
  query, key, value = inputs(rng)
  bias = np.zeros((2, 7), np.float32)
  bias[:, 2] = np.log(2)
  twice = [np.concatenate([x, x[:, 2:3]], axis=1) for x in (key, value)]
  np.testing.assert_allclose(
    attention(query, key, value, bias=bias),
    attention(query, *twice),
    atol=1e-6,
  )


def test_errors_name_what_came(rng):
  query, key, value = inputs(rng)
  with pytest.raises(ValueError, match="unknown attention implementation 'x'"):
    attention(query, key, value, implementation="x")
  with pytest.raises(ValueError, match=r"bias must be \(2, 7\), got \(2, 5\)"):
    attention(query, key, value, bias=np.zeros((2, 5)))
  with pytest.raises(ValueError, match="come together"):
    mask = AttentionMask(query_segments=np.zeros((2, 5), int))
    attention(query, key, value, mask=mask)
  with pytest.raises(ValueError, match="key and value must be"):
    attention(query, key[:, :, :2], value[:, :, :2])
