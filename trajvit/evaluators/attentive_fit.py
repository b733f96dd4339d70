"""Trains attentive probes of several learning rates in one pass over the clips.

They start alike and see the same batches; all else is apart.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trajvit.evaluators.attentive_head import head_logits, init_head
from trajvit.types import Array

_WARMUP = 0.1  # share of the steps
_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999)


def fit_heads(
  tokens: np.ndarray,
  mask: np.ndarray,
  labels: np.ndarray,
  rows: np.ndarray,
  *,
  num_classes: int,
  learning_rates: tuple[float, ...],
  blocks: int,
  num_heads: int,
  epochs: int,
  batch_size: int,
  weight_decay: float,
  seed: int,
) -> dict:
  """Returns the parameters of one head for each learning rate, stacked.

  AdamW on the cross entropy, the rate rising over the first tenth of the steps
  and falling as a cosine to 0. What a batch does not hold of an epoch is left
  out of it, and another part in the next.

  Args:
    tokens: [n, N, D] float, on the host.
    mask: [n, N] bool.
    labels: [n] integers, in [0, C) where they are read.
    rows: which clips to train on, at least one.
    num_classes: C.
    learning_rates: H of them.
    blocks: of each head, see `init_head`.
    num_heads: K, divides D.
    epochs: how often each clip is seen.
    batch_size: clips in a step.
    weight_decay: decoupled, times the learning rate.
    seed: of the initial values and of the order of the clips.

  Returns:
    Nested dict of arrays [H, ...].

  Raises:
    FloatingPointError: no head has a finite loss.
  """
  rng = np.random.default_rng(seed)
  batch_size = min(batch_size, len(rows))
  steps_an_epoch = len(rows) // batch_size
  steps = epochs * steps_an_epoch
  rates = jnp.asarray(learning_rates, jnp.float32)
  params, moments = _start(
    jax.random.key(seed),
    heads=len(rates),
    width=tokens.shape[-1],
    num_classes=num_classes,
    blocks=blocks,
  )
  losses = np.zeros(len(rates))
  for step in range(steps):
    if step % steps_an_epoch == 0:
      order = rng.permutation(rows)
    start = step % steps_an_epoch * batch_size
    chosen = np.sort(order[start : start + batch_size])
    params, moments, losses = _train_step(
      (params, moments),
      (tokens[chosen], mask[chosen], labels[chosen]),
      rates * _schedule(step, steps),
      weight_decay,
      num_heads=num_heads,
    )
  if not np.isfinite(losses).any():
    raise FloatingPointError(
      f"a probe has the losses {np.asarray(losses)} at the learning rates "
      f"{learning_rates}"
    )
  return params


def stacked_logits(
  params: dict,
  tokens: np.ndarray,
  mask: np.ndarray,
  rows: np.ndarray,
  *,
  num_heads: int,
  batch_size: int,
) -> np.ndarray:
  """Returns the logits of H heads, [H, len(rows), C] float32.

  Args:
    params: of `fit_heads`.
    tokens: [n, N, D] float, on the host.
    mask: [n, N] bool.
    rows: which clips.
    num_heads: K.
    batch_size: clips at a time.
  """
  parts = []
  for start in range(0, len(rows), batch_size):
    chosen = rows[start : start + batch_size]
    filled = np.resize(chosen, batch_size)  # one shape, one program
    found = _logits(params, tokens[filled], mask[filled], num_heads=num_heads)
    parts.append(np.asarray(found)[:, : len(chosen)])
  return np.concatenate(parts, 1)


def _schedule(step, steps):
  """The share of the learning rate at a step."""
  warmup = max(1, int(_WARMUP * steps))
  if step < warmup:
    return (step + 1) / warmup
  return 0.5 + 0.5 * math.cos(math.pi * (step - warmup) / (steps - warmup))


@functools.partial(
  jax.jit, static_argnames=("heads", "width", "num_classes", "blocks")
)
def _start(key, *, heads, **sizes) -> tuple[dict, optax.OptState]:
  """Parameters and moments of equal heads, each [heads, ...]."""
  params = jax.tree.map(
    lambda x: jnp.repeat(x[None], heads, 0), init_head(key, **sizes)
  )
  return params, jax.vmap(_ADAM.init)(params)


@functools.partial(jax.jit, static_argnames="num_heads", donate_argnums=0)
def _train_step(
  state: tuple, batch: tuple, rates: Array, weight_decay: Array, *, num_heads
) -> tuple[dict, optax.OptState, Array]:
  """One step of all heads; returns their parameters, moments and losses [H]."""
  tokens, mask, labels = batch

  def loss(params):
    logits = head_logits(params, tokens, mask, num_heads=num_heads)
    found = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return found.mean()

  def update(params, moments, rate):
    value, gradient = jax.value_and_grad(loss)(params)
    direction, moments = _ADAM.update(gradient, moments)
    params = jax.tree.map(
      lambda p, d: p - rate * (d + weight_decay * p), params, direction
    )
    return params, moments, value

  return jax.vmap(update)(*state, rates)


@functools.partial(jax.jit, static_argnames="num_heads")
def _logits(params, tokens, mask, *, num_heads):
  return jax.vmap(
    lambda one: head_logits(one, tokens, mask, num_heads=num_heads)
  )(params)
