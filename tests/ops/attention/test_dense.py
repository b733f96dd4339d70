import definition
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from definition import TOLERANCES, draw_inputs, relative_error

from trajvit.ops.attention import AttentionMask, attention, dense
from trajvit.ops.attention.dense import check_cudnn, check_splash, splash

BATCH, HEADS = 2, 2


def padding(rng, keys):
  """The second clip has none but padding."""
  real = rng.random((BATCH, keys)) < 0.7
  real[1] = False
  return AttentionMask(keys=jnp.asarray(real))


def packed(rng, queries, keys):
  """Queries of segment 3 have no keys, and no segment is in one piece."""
  real = jnp.asarray(rng.random((BATCH, keys)) < 0.7)
  segments = (
    rng.integers(0, 4, (BATCH, queries)),
    rng.integers(0, 3, (BATCH, keys)),
  )
  return AttentionMask(real, *(jnp.asarray(x, jnp.int32) for x in segments))


def make_masks(rng, queries, keys):
  return {
    "none": AttentionMask(),
    "padding": padding(rng, keys),
    "packed": packed(rng, queries, keys),
  }


def agrees(run, query, key, value, mask, out_grad, scale):
  """Whether `run` is attention, with NaN in padding, and its gradients are."""
  allowed = mask.allowed()
  allowed = np.asarray(True if allowed is None else allowed)
  shape = BATCH, HEADS, query.shape[1], key.shape[1]
  allowed = np.broadcast_to(allowed, shape)
  if mask.keys is not None:
    real = mask.keys[:, :, None, None]
    key, value = (jnp.where(real, x, jnp.nan) for x in (key, value))
  out, pull = jax.vjp(jax.jit(run), query, key, value)
  expected, logsumexp = definition.attention(
    query, key, value, allowed, scale=scale
  )
  expected_grads = definition.gradients(
    query, key, value, allowed, out_grad, scale=scale
  )
  empty = np.isneginf(logsumexp)
  grads = pull(out_grad)
  tolerance = TOLERANCES[str(query.dtype)]
  assert out.dtype == query.dtype
  assert not np.asarray(out)[empty].any()
  assert not np.asarray(grads[0])[empty].any()
  assert relative_error(out, expected) < tolerance.out
  for got, wanted in zip(grads, expected_grads[:3], strict=True):
    assert relative_error(got, wanted) < tolerance.gradient


@pytest.mark.parametrize(
  "kind, dtype",
  [("none", "float32"), ("padding", "float32"), ("packed", "bfloat16")],
)
def test_splash_is_attention(rng, kind, dtype):
  query, key, value, _ = draw_inputs(rng, BATCH, 128, 256, HEADS, 16, dtype)
  mask = make_masks(rng, 128, 256)[kind]
  out_grad = jnp.asarray(rng.normal(size=query.shape), dtype)

  def run(query, key, value):
    call = dict(mask=mask, bias=None, scale=0.5)
    return splash(query, key, value, **call, interpret=True).out

  agrees(run, query, key, value, mask, out_grad, 0.5)


@pytest.mark.parametrize("kind", ["none", "padding", "packed"])
def test_cudnn_is_told_what_attention_is(rng, kind, monkeypatch):
  """cuDNN itself needs a GPU: what it is asked for is computed by XLA."""
  query, key, value, _ = draw_inputs(rng, BATCH, 12, 14, HEADS, 8)
  mask = make_masks(rng, 12, 14)[kind]
  out_grad = jnp.asarray(rng.normal(size=query.shape), jnp.float32)
  stock = jax.nn.dot_product_attention

  def stand_in(*args, implementation, **kwargs):
    assert implementation == "cudnn"
    return stock(*args, **kwargs, implementation="xla")

  monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
  monkeypatch.setattr(dense, "check_cudnn", lambda *args, **kwargs: None)

  def run(query, key, value):
    call = dict(mask=mask, bias=None, scale=0.5)
    return dense.cudnn(query, key, value, **call).out

  agrees(run, query, key, value, mask, out_grad, 0.5)


def call(length=128, dim=64, dtype="bfloat16", **changes):
  """Arguments of the checks, which splash can do and cuDNN could."""
  query = jax.ShapeDtypeStruct((BATCH, length, HEADS, dim), dtype)
  return (query, query), dict(mask=AttentionMask(), bias=None) | changes


SEGMENTS = AttentionMask(
  query_segments=np.zeros((BATCH, 127), np.int32),
  key_segments=np.zeros((BATCH, 127), np.int32),
)
BIAS = np.zeros((BATCH, 128), np.float32)


@pytest.mark.parametrize(
  "changes, reason",
  [
    (dict(), "needs an NVIDIA GPU, this process runs on cpu"),
    (dict(bias=BIAS), "rounds a bias"),
    (dict(dtype="float32"), "got float32"),
    (dict(dim=60), "got 60"),
    (dict(dim=256), "got 256"),
    (dict(length=127, mask=SEGMENTS), r"even numbers of tokens, got \(127"),
  ],
)
def test_cudnn_says_what_it_refuses(changes, reason):
  args, kwargs = call(**changes)
  with pytest.raises(NotImplementedError, match=reason):
    check_cudnn(*args, **kwargs)


@pytest.mark.parametrize(
  "changes, reason",
  [
    (dict(bias=BIAS), "no bias"),
    (dict(dtype="float16"), "got float16"),
    (dict(length=127), r"multiples of 128 tokens, got \(127, 127\)"),
  ],
)
def test_splash_says_what_it_refuses(changes, reason):
  args, kwargs = call()
  check_splash(*args, **kwargs)
  args, kwargs = call(**changes)
  with pytest.raises(NotImplementedError, match=reason):
    check_splash(*args, **kwargs)


@pytest.mark.parametrize("name", ["cudnn", "splash"])
def test_dense_kernels_refuse_lists(rng, name):
  query, key, value, _ = draw_inputs(rng, BATCH, 128, 128, HEADS, 16)
  blocks = definition.draw_mask(rng, queries=128, keys=128, block_query=64)
  with pytest.raises(NotImplementedError, match=f"{name} takes no BlockMask"):
    attention(query, key, value, mask=blocks, implementation=name)


def lowered(platform, *, length=1024, dim=64, bias=False, mask=None):
  """The text of attention and its gradients, compiled for a platform."""
  shape = jax.ShapeDtypeStruct((1, length, 1, dim), jnp.bfloat16)
  bias = jax.ShapeDtypeStruct((1, length), jnp.float32) if bias else None

  def loss(query, key, value, bias):
    out = attention(query, key, value, bias=bias, mask=mask)
    return out.astype(jnp.float32).sum()

  step = jax.jit(jax.grad(loss, (0, 1, 2)))
  traced = step.trace(shape, shape, shape, bias)
  return traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("dim", [32, 64, 72, 128])
def test_long_calls_on_tpu_take_splash(dim):
  text = lowered("tpu", dim=dim)
  assert text.count("tpu_custom_call") == 3
  assert "splash" in text


@pytest.mark.parametrize("changes", [dict(bias=True), dict(length=1100)])
def test_long_calls_that_splash_refuses_take_the_list_kernel(changes):
  text = lowered("tpu", **changes)
  assert text.count("tpu_custom_call") == 3
  assert "splash" not in text


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_elsewhere_the_reference_is_taken(platform):
  assert "custom_call" not in lowered(platform)


def test_short_calls_are_the_reference_and_nothing_else(rng):
  query, key, value, bias = draw_inputs(rng, BATCH, 12, 14, HEADS, 8)

  def program(implementation):
    def run(query, key, value, bias):
      return attention(
        query, key, value, bias=bias, implementation=implementation
      )

    return str(jax.make_jaxpr(run)(query, key, value, bias))

  assert program("auto") == program("reference")


def test_several_devices_need_a_mesh_for_kernels(monkeypatch):
  monkeypatch.setattr(jax, "device_count", lambda: 2)
  assert "tpu_custom_call" not in lowered("tpu")
  mesh = jax.sharding.AbstractMesh((2,), ("data",))
  with jax.sharding.use_abstract_mesh(mesh):
    text = lowered("tpu")
  assert "tpu_custom_call" in text
  assert "splash" not in text  # it cannot be cut


def test_long_calls_have_the_gradients_of_the_reference(rng):
  query, key, value, bias = draw_inputs(rng, 1, 1024, 1024, 1, 8)
  real = jnp.asarray(rng.random((1, 1024)) < 0.7)

  def grads(implementation):
    def loss(query, key, value, bias):
      mask = AttentionMask(keys=real)
      call = dict(mask=mask, bias=bias, implementation=implementation)
      return jnp.square(attention(query, key, value, **call)).sum()

    return jax.jit(jax.grad(loss, (0, 1, 2, 3)))(query, key, value, bias)

  for got, expected in zip(grads("auto"), grads("reference"), strict=True):
    np.testing.assert_array_equal(got, expected)
