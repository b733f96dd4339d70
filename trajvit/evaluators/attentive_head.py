"""The head of an attentive probe, as a function of its parameters.

Source: V-JEPA, arXiv:2404.08471: a learned query reads the tokens by attention,
a perceptron follows, and a linear classifier; V-JEPA 2, arXiv:2506.09985, puts
three blocks of self-attention in front. Here a layer norm comes before all,
which puts the tokens of any encoder on one scale.
"""

import jax
import jax.numpy as jnp

from trajvit.types import Array

_MLP_RATIO = 4


def init_head(key: Array, *, width: int, num_classes: int, blocks: int) -> dict:
  """Returns parameters, a nested dict of float32 arrays.

  Args:
    key: of the initial values.
    width: D of the tokens.
    num_classes: C.
    blocks: the last one reads, the ones before are self-attention.
  """
  keys = iter(jax.random.split(key, 6 * blocks + 2))  # one for each array

  def linear(inputs, outputs):
    kernel = 0.02 * jax.random.truncated_normal(
      next(keys), -2, 2, (inputs, outputs)
    )
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}

  def norm():
    return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

  def block():
    names = ("query", "key", "value", "out")
    return {
      "attention_norm": norm(),
      **{name: linear(width, width) for name in names},
      "mlp_norm": norm(),
      "inner": linear(width, _MLP_RATIO * width),
      "outer": linear(_MLP_RATIO * width, width),
    }

  return {
    "norm": norm(),
    "blocks": [block() for _ in range(blocks)],
    "latent": 0.02 * jax.random.normal(next(keys), (1, width)),
    "classifier": linear(width, num_classes),
  }


def head_logits(
  params: dict, tokens: Array, mask: Array, *, num_heads: int
) -> Array:
  """Returns [B, C] float32.

  Args:
    params: of `init_head`.
    tokens: [B, N, D] float.
    mask: [B, N] bool, True = real; what the others hold is never read. At least
      one of a clip is real.
    num_heads: K, divides D.
  """
  x = jnp.where(mask[..., None], tokens.astype(jnp.float32), 0)
  x = _norm(params["norm"], x)
  *blocks, reader = params["blocks"]
  for block in blocks:
    read = _norm(block["attention_norm"], x)
    x = x + _attend(block, read, read, mask, num_heads)
    x = x + _mlp(block, x)
  read = _norm(reader["attention_norm"], x)
  query = jnp.broadcast_to(params["latent"], (len(x), 1, x.shape[-1]))
  query = query + _attend(reader, query, read, mask, num_heads)
  query = query + _mlp(reader, query)  # [B, 1, D]
  return _linear(params["classifier"], query[:, 0])


def _attend(block, queries, read, mask, num_heads):
  """[B, Nq, D], what the queries read of [B, N, D]."""

  def heads(name, x):
    x = _linear(block[name], x)
    return x.reshape(*x.shape[:2], num_heads, -1)  # [B, N, K, d]

  read = jax.nn.dot_product_attention(
    heads("query", queries),
    heads("key", read),
    heads("value", read),
    mask=mask[:, None, None],
  )
  return _linear(block["out"], read.reshape(queries.shape))


def _mlp(block, x):
  x = _linear(block["inner"], _norm(block["mlp_norm"], x))
  return _linear(block["outer"], jax.nn.gelu(x))


def _linear(params, x):
  return x @ params["kernel"] + params["bias"]


def _norm(params, x):
  return params["scale"] * jax.nn.standardize(x, epsilon=1e-6) + params["bias"]
