"""Attentive heads: against NumPy, one by one, and on what they should find."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fake_loader import LabelledLoader

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.attentive_fit import fit_heads, stacked_logits
from trajvit.evaluators.attentive_head import head_logits, init_head
from trajvit.evaluators.features import Features
from trajvit.types import Tokens

WIDTH, TOKENS, CLASSES, HEADS = 8, 5, 3, 2
FIT = dict(
  num_classes=CLASSES,
  blocks=1,
  num_heads=HEADS,
  epochs=3,
  batch_size=8,
  weight_decay=0.01,
  seed=0,
)


def drawn(rng, n=24):
  """Tokens of which one tells the class, somewhere in the set; and a mask."""
  labels = rng.integers(0, CLASSES, n)
  tokens = 0.3 * rng.normal(size=(n, TOKENS, WIDTH))
  mask = rng.random((n, TOKENS)) < 0.7
  place = rng.integers(0, TOKENS, n)
  tokens[np.arange(n), place] = 3 * np.eye(CLASSES, WIDTH)[labels]
  mask[np.arange(n), place] = True
  return tokens.astype(np.float16), mask, labels


def features(tokens, mask, labels):
  n = len(labels)
  return Features(
    outputs={"tokens": tokens, "tokens_mask": mask},
    clip_id=np.arange(n, dtype=np.int32),
    label=labels.astype(np.int32),
    place=np.arange(n),
    names=tuple(map(str, range(n))),
    caption_clip=np.zeros(0, np.int64),
  )


def norm(p, x):
  x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
  return x * p["scale"] + p["bias"]


def linear(p, x):
  return x @ p["kernel"] + p["bias"]


def attend(p, queries, read):
  """[Nq, D] of the real tokens [N, D] of one clip."""
  q, k, v = (
    linear(p[name], x)
    for name, x in (("query", queries), ("key", read), ("value", read))
  )
  out, size = np.zeros_like(q), WIDTH // HEADS
  for head in range(HEADS):
    part = slice(head * size, (head + 1) * size)
    odds = np.exp(q[:, part] @ k[:, part].T / np.sqrt(size))
    out[:, part] = odds / odds.sum(1, keepdims=True) @ v[:, part]
  return linear(p["out"], out)


def slow_logits(params, tokens):
  x = norm(params["norm"], tokens)

  def mlp(p, x):
    x = linear(p["inner"], norm(p["mlp_norm"], x))
    return linear(p["outer"], np.asarray(jax.nn.gelu(x)))

  *blocks, reader = params["blocks"]
  for p in blocks:
    read = norm(p["attention_norm"], x)
    x = x + attend(p, read, read)
    x = x + mlp(p, x)
  query = params["latent"]
  query = query + attend(reader, query, norm(reader["attention_norm"], x))
  query = query + mlp(reader, query)
  return linear(params["classifier"], query)[0]


def test_the_head_equals_numpy_and_reads_no_padding(rng):
  tokens, mask, _ = drawn(rng, 4)
  init = functools.partial(
    init_head, width=WIDTH, num_classes=CLASSES, blocks=2
  )
  params = jax.tree.map(
    lambda x: rng.normal(0, 0.3, x.shape).astype(np.float32),
    jax.eval_shape(init, jax.random.key(0)),
  )
  logits = jax.jit(head_logits, static_argnames="num_heads")
  filled = np.where(mask[..., None], tokens, np.nan)
  got = logits(params, filled, mask, num_heads=HEADS)
  for row in range(4):
    expected = slow_logits(params, tokens[row][mask[row]].astype(np.float32))
    np.testing.assert_allclose(got[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_heads_side_by_side_are_heads_alone(rng):
  """Each as AdamW of optax would have it, at its own rate."""
  tokens, mask, labels = drawn(rng)
  rows, rates = np.arange(20), (1e-3, 1e-2)
  together = fit_heads(tokens, mask, labels, rows, learning_rates=rates, **FIT)
  logits = stacked_logits(
    together, tokens, mask, np.arange(24), num_heads=HEADS, batch_size=8
  )
  assert logits.shape == (2, 24, CLASSES)

  # Heads that have not been trained start alike.
  params = fit_heads(
    *(tokens, mask, labels, rows),
    learning_rates=rates,
    **FIT | dict(epochs=0),
  )
  params = jax.tree.map(lambda x: np.asarray(x)[1], params)
  # 6 steps, the first of them warming up.
  cosine = 0.5 + 0.5 * np.cos(np.pi * np.arange(5) / 5)
  rate = 1e-2 * jnp.asarray(np.r_[1, cosine])
  tx = optax.adamw(lambda step: rate[step], weight_decay=0.01)
  state, order = tx.init(params), np.random.default_rng(0)

  @jax.jit
  def step(params, state, tokens, mask, labels):
    def loss(params):
      found = head_logits(params, tokens, mask, num_heads=HEADS)
      return optax.softmax_cross_entropy_with_integer_labels(
        found, labels
      ).mean()

    updates, state = tx.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, updates), state

  for _ in range(3):
    shuffled = order.permutation(rows)
    for start in (0, 8):
      chosen = np.sort(shuffled[start : start + 8])
      params, state = step(
        params, state, tokens[chosen], mask[chosen], labels[chosen]
      )
  for one, other in zip(
    jax.tree.leaves(together), jax.tree.leaves(params), strict=True
  ):
    np.testing.assert_allclose(one[1], other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("blocks", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_token_among_others_is_found(rng, blocks):
  train, test = features(*drawn(rng, 64)), features(*drawn(rng, 33))
  loaders = [LabelledLoader([], []), LabelledLoader([], [])]
  for name, loader in zip("ab", loaders, strict=True):
    loader.fingerprint = lambda name=name: name
  got = EVALUATORS.build(
    dict(
      name="attentive_probe",
      train={},
      blocks=blocks,
      num_heads=HEADS,
      learning_rates=(1e-9, 1e-2),
      epochs=30,
      batch_size=8,
      held_out=0.2,
      bootstrap=20,
    ),
    loader=loaders[0],
    build_loader=lambda spec: loaders[1],
  ).score(test, train)
  assert got["accuracy"] == got["accuracy@0.01"] > 75
  assert got["accuracy@1e-09"] < 80  # it has not learnt
  assert got["accuracy_low"] <= got["accuracy"] <= got["accuracy_high"]
  assert (got["n_train"], got["n_evaluated"]) == (64, 33)


def predict(variables, batch):
  """Pixels as tokens."""
  x = batch.clip.frames.reshape(-1, TOKENS, WIDTH)
  mask = x[..., 0] < 9
  positions = jnp.zeros((*mask.shape, 3))
  return {"encoded": Tokens(x, mask, positions, mask * 1.0)}


def test_folds_from_a_loader(rng):
  labels = rng.permutation(24) % CLASSES
  clips = np.repeat(np.eye(CLASSES, WIDTH)[labels][:, None], TOKENS, 1)
  got = EVALUATORS.build(
    dict(
      name="attentive_probe",
      num_heads=HEADS,
      epochs=40,
      batch_size=8,
      folds=3,
      learning_rates=(1e-2, 3e-2),
    ),
    loader=LabelledLoader([*clips.reshape(24, -1), None], [*labels, 0]),
  ).run(predict, {})
  assert got["accuracy"] == 100
  assert (got["n_evaluated"], got["n_missing"]) == (24, 1)


def test_what_cannot_be_is_named(rng):
  for options, message in (
    (dict(blocks=0), "blocks must be at least 1, got 0"),
    (dict(learning_rates=(1e-3, 0)), "learning_rates must be numbers above 0"),
    (dict(held_out=1), "held_out must be between 0 and 1, got 1"),
  ):
    with pytest.raises(ValueError, match=message):
      EVALUATORS.build(dict(name="attentive_probe", **options), loader=None)
  probe = EVALUATORS.build(dict(name="attentive_probe"), loader=None)
  found = features(*drawn(rng))
  with pytest.raises(ValueError, match="num_heads must divide the width 6"):
    found.outputs["tokens"] = found.outputs["tokens"][..., :6]
    probe.score(found)
