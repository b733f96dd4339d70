"""Every way to attend, as a layer, in a stack and in an encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.encoders.vit import ViT
from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods import ATTENTIONS
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask, use_implementation
from trajvit.training.step import merge
from trajvit.types import Tokens

WIDTH, HEADS, LENGTH, BLOCK = 8, 2, 14, 4  # 4 blocks, the last one cut
ALL = dict(block=BLOCK)
# Options under which a method leaves nothing out.
EVERYTHING = {
  "full": {},
  "top_blocks": dict(k=4, **ALL),
  "top_mass": dict(mass=1.0, **ALL),
  "vertical_slash": dict(columns=4, diagonals=4, **ALL),
  "seer_gate": dict(k=4, **ALL),
  "routing": dict(clusters=1, **ALL),
  "token_sparse": dict(count=LENGTH, **ALL),
  "rectified": dict(k=4, **ALL),
  "blasst": dict(skip_below=1e-30, **ALL),
  "capped": dict(cap=1e4),
}
# Options under which it leaves something out.
SPARSE = {
  "top_blocks": dict(k=1, sinks=0, **ALL),
  "top_mass": dict(mass=0.4, sinks=0, **ALL),
  "vertical_slash": dict(columns=1, diagonals=1, sinks=0, last=3, **ALL),
  "seer_gate": dict(k=1, sinks=0, **ALL),
  "routing": dict(clusters=3, **ALL),
  "token_sparse": dict(count=5, coverage=0.7, **ALL),
  "rectified": dict(k=1, sinks=0, **ALL),
  "blasst": dict(skip_below=0.9, **ALL),
}
ONE_CLIP = ("vertical_slash", "token_sparse")


@pytest.fixture(autouse=True)
def quickly_compiled(request):
  """All implementations agree elsewhere; only one skips tiles."""
  params = getattr(request.node, "callspec", None)
  skips = params is not None and params.params.get("name") == "blasst"
  with use_implementation("xla" if skips else "reference"):
    yield


def make_layer(name, **options):
  return SelfAttention(
    WIDTH,
    HEADS,
    method=dict(name=name, **options),
    rngs=nnx.Rngs(params=0),
  )


def draw(rng, scale=1.0):
  return (scale * rng.normal(size=(2, LENGTH, WIDTH))).astype(np.float32)


def padding():
  return np.arange(LENGTH) < np.array([[LENGTH], [9]])


def test_every_method_is_tried():
  assert set(EVERYTHING) == set(ATTENTIONS)
  assert set(SPARSE) | {"full", "capped"} == set(ATTENTIONS)


@pytest.mark.parametrize("name", sorted(EVERYTHING))
@pytest.mark.parametrize("packed", [False, True])
def test_with_everything_it_is_full_attention(rng, name, packed):
  if packed and name in ONE_CLIP:
    pytest.skip("takes rows of one clip")
  mask = padding()
  segments = np.repeat([[0, 1]], [6, 8], axis=1) if packed else None
  if packed:
    segments = jnp.asarray(np.broadcast_to(segments, mask.shape))
  context = Context(
    mask=AttentionMask(jnp.asarray(mask), segments, segments),
    bias=jnp.asarray(rng.normal(size=mask.shape), jnp.float32),
    packed=packed,
  )
  x = draw(rng)
  # Parameters of the layer itself do not depend on the method.
  layer, full = make_layer(name, **EVERYTHING[name]), make_layer("full")
  got = jax.jit(lambda x: layer(x, context)[0])(x)
  expected = jax.jit(lambda x: full(x, context)[0])(x)
  np.testing.assert_allclose(got[mask], expected[mask], atol=1e-5)


@pytest.mark.parametrize("name", sorted(SPARSE))
def test_it_leaves_something_out_and_padding_alone(rng, nnx_mode, name):
  mask = padding()
  context = Context(mask=AttentionMask(jnp.asarray(mask)))
  layer = make_layer(name, **SPARSE[name])

  @jax.jit
  def run(x):
    def loss(x):
      out = jnp.where(mask[..., None], layer(x, context)[0], 0)
      return jnp.square(out).sum(), out

    return jax.value_and_grad(loss, has_aux=True)(x)

  x = draw(rng, scale=3.0)
  (_, out), grads = run(x)
  full = make_layer("full")(x, context)[0]
  assert np.abs(np.asarray(out - full)[mask]).max() > 1e-3
  (_, moved), moved_grads = run(np.where(mask[..., None], x, 1e4))
  np.testing.assert_array_equal(moved, out)
  np.testing.assert_array_equal(grads[mask], moved_grads[mask])
  assert np.isfinite(grads).all() and np.any(grads)


@pytest.mark.parametrize("name", sorted(set(SPARSE) - set(ONE_CLIP)))
def test_a_clip_does_not_touch_the_others_of_its_row(rng, name):
  segments = jnp.asarray(np.repeat([[0, 1]], [6, 8], axis=1).repeat(2, 0))
  mask = AttentionMask(jnp.ones((2, LENGTH), bool), segments, segments)
  context = Context(mask=mask, packed=True)
  layer = make_layer(name, **SPARSE[name])

  @jax.jit
  def run(x):
    def loss(x):
      out = layer(x, context)[0][:, 6:]
      return jnp.square(out).sum(), out

    return jax.value_and_grad(loss, has_aux=True)(x)

  x, other = draw(rng, scale=3.0), draw(rng, scale=5.0)
  (_, out), grads = run(x)
  (_, moved), moved_grads = run(np.concatenate([other[:, :6], x[:, 6:]], 1))
  np.testing.assert_array_equal(moved, out)
  np.testing.assert_array_equal(moved_grads, grads)
  assert not np.any(grads[:, :6])


def test_capped_logits_are_squashed(rng):
  query, key, value = rng.normal(size=(3, 2, LENGTH, HEADS, 4)) * 4
  method = ATTENTIONS.build(dict(name="capped", cap=2.0))
  context = Context(AttentionMask(padding()))
  got = jax.jit(lambda *args: method(*args, context)[0])(query, key, value)
  logits = 2 * np.tanh(np.einsum("bqkd,bskd->bkqs", query, key) / 2 / 2)
  weights = np.exp(logits) * padding()[:, None, None]
  weights /= weights.sum(-1, keepdims=True)
  expected = np.einsum("bkqs,bskd->bqkd", weights, value)
  np.testing.assert_allclose(got, expected, atol=1e-5)
  with pytest.raises(ValueError, match="cap must be above 0, got 0"):
    make_layer("capped", cap=0)


@pytest.mark.parametrize("name", ONE_CLIP)
def test_some_methods_want_one_clip_a_row(rng, name):
  with pytest.raises(ValueError, match=f"{name}.*one clip a row"):
    make_layer(name, **SPARSE[name])(draw(rng), Context(packed=True))


def test_a_config_cannot_say_what_nobody_reads():
  with pytest.raises(ValueError, match="unknown attention 'dense'; known: bla"):
    make_layer("dense")
  with pytest.raises(ValueError, match="'routing' reads no 'shared'"):
    make_layer("routing", clusters=2, shared=True)
  with pytest.raises(ValueError, match="cannot be shared"):
    make_layer("seer_gate", k=1, shared=True, distill=True)


def make_tokens(rng, batch=2):
  mask = padding()
  return Tokens(
    features=draw(rng),
    mask=jnp.asarray(mask),
    positions=jnp.zeros((batch, LENGTH, 3)),
    size=jnp.asarray(rng.integers(1, 5, mask.shape), jnp.float32),
  )


def run_vit(encoder, tokens):
  return jax.jit(lambda tokens: encoder(tokens))(tokens)


def make_vit(attention, **options):
  options = dict(width=WIDTH, depth=2, num_heads=HEADS) | options
  return ViT(attention=attention, rngs=nnx.Rngs(params=0), **options)


@pytest.mark.parametrize(
  "name", ["top_blocks", "vertical_slash", "seer_gate", "rectified"]
)
def test_a_shared_choice_is_that_of_the_first_layer(rng, name):
  spec = dict(name=name, **SPARSE[name])

  def stack(**more):
    def make(rngs):
      return Block(WIDTH, HEADS, 16, attention=spec | more, rngs=rngs)

    return Stack(make, 3, rngs=nnx.Rngs(params=0))

  alone, shared = stack(), stack(shared=True)

  @jax.jit
  def run(x):
    context = Context(AttentionMask(padding()))
    own, _ = alone(x, context)
    assert alone.first().select(x, context) is None
    selected = shared.first().select(x, context)
    context = dataclasses.replace(context, selected=selected)
    graphdef, states = nnx.split(shared.layers)
    by_hand = x
    for i in range(3):
      state = jax.tree.map(lambda leaf, i=i: leaf[i], states)
      by_hand, _ = nnx.merge(graphdef, state)(by_hand, context)
    return own, by_hand, *shared(x, context)

  own, by_hand, got, aux = run(draw(rng, scale=3.0))
  np.testing.assert_allclose(got, by_hand, atol=1e-5)
  assert len(set(np.asarray(aux["density"]).tolist())) == 1
  assert np.abs(own - got).max() > 1e-4  # later layers choose differently


def test_an_encoder_shares_the_choice_of_its_first_block(rng):
  tokens = make_tokens(rng)
  spec = dict(name="top_blocks", **SPARSE["top_blocks"])
  same, own = (
    run_vit(make_vit(spec | more, stages=(1, 1)), tokens)[0]
    for more in (dict(shared=True), {})
  )
  np.testing.assert_array_equal(same.features, own.features)  # one layer each


@pytest.mark.parametrize(
  ("depth", "remat"), [(2, False), (5, True)], ids=["unrolled", "scanned"]
)
@pytest.mark.parametrize("name", ["top_blocks", "routing"])
def test_an_encoder_tells_of_every_layer(rng, depth, remat, name):
  tokens = make_tokens(rng)
  spec = dict(name=name, **SPARSE[name])
  encoder = make_vit(spec, depth=depth, remat=remat, registers=2)
  graphdef, params, stats = nnx.split(encoder, nnx.Param, nnx.BatchStat)

  @jax.jit
  def step(params):
    def loss(params):
      model = nnx.merge(graphdef, params, stats)
      out, aux = model(tokens, key=jax.random.key(0))
      return jnp.square(out.features).sum(), aux

    return jax.value_and_grad(loss, has_aux=True)(params)

  (_, aux), grads = step(params)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(grads))
  if name == "routing":
    assert aux["attention"] == [{}] and "metrics" not in aux
    old = nnx.to_pure_dict(stats)
    new = merge(old, aux["batch_stats"])
    assert jax.tree.structure(old) == jax.tree.structure(new)
    (before,), (after,) = jax.tree.leaves(old), jax.tree.leaves(new)
    assert after.shape == before.shape == (depth, HEADS, 3, WIDTH // HEADS)
    change = np.abs(after - before).max((1, 2, 3))
    assert np.all(change > 0) and np.all(change < 0.01)
    np.testing.assert_allclose(np.linalg.norm(after, axis=-1), 1, atol=1e-5)
    return
  (told,) = aux["attention"]
  assert told["density"].shape == told["dropped"].shape == (depth,)
  assert 0 < aux["metrics"]["attention/density"] < 1
  assert aux["metrics"]["attention/dropped"] == 0


def test_no_statistics_move_at_inference(rng):
  encoder = make_vit(dict(name="routing", **SPARSE["routing"]))
  aux = run_vit(encoder, make_tokens(rng))[1]
  assert "batch_stats" not in aux


def test_a_merged_token_counts_as_its_patches(rng):
  tokens = make_tokens(rng)
  plain, proportional = make_vit(None), make_vit(None, proportional=True)
  ones = dataclasses.replace(tokens, size=jnp.ones((2, LENGTH)))
  np.testing.assert_array_equal(
    run_vit(proportional, ones)[0].features, run_vit(plain, ones)[0].features
  )
  # Two equal tokens are one of twice the size.
  twin = jax.tree.map(lambda x: jnp.concatenate([x, x[:, :1]], 1), tokens)
  double = tokens.size.at[:, 0].multiply(2)
  double = dataclasses.replace(tokens, size=double)
  np.testing.assert_allclose(
    run_vit(proportional, twin)[0].features[:, :-1],
    run_vit(proportional, double)[0].features,
    atol=1e-5,
  )


def test_the_default_is_full_attention_to_the_last_bit(rng):
  tokens = make_tokens(rng)
  default, named = make_vit(None), make_vit(dict(name="full"))
  a, b = run_vit(default, tokens), run_vit(named, tokens)
  np.testing.assert_array_equal(a[0].features, b[0].features)
  assert a[1]["attention"] == [{}]
  state = nnx.to_pure_dict(nnx.state(default))
  assert sorted(state["stages"][0]["layers"]["attention"]) == [
    "key",
    "out",
    "query",
    "value",
  ]
