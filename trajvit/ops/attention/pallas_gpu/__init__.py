"""The `pallas_gpu` backend: Pallas kernels for NVIDIA GPUs, through Triton.

A program owns some tokens of one head and walks the list of blocks that meet
them: queries walk keys for the output and for their own gradient, keys walk
queries for the gradients of keys, values and bias. Every number has one writer,
so that equal inputs give equal bits.

Pallas has deprecated its Triton backend, so this file leans on as little of it
as it can: no scratch memory, no atomics, nothing but `pallas_call`. How many
tokens, warps and stages a program has was chosen so that registers hardly spill
on Hopper (see `walk`) and 164 KiB of shared memory suffice, which GPUs made for
games do not have; nobody has tuned it for speed. Products of float32 are TF32
unless `jax.default_matmul_precision` asks for more.
"""

import jax.numpy as jnp
from jax.experimental import pallas as pl

from trajvit.compat import struct_like
from trajvit.ops.attention.pallas_gpu import kernels
from trajvit.ops.attention.pallas_gpu.walk import Walk


def check(query, blocks, options):
  """Refuses what Triton cannot tile, and statistics of tiles."""
  if options.tile_max or options.skip_below is not None:
    raise NotImplementedError("pallas_gpu has no tile_max and no skip_below")
  if query.dtype not in (jnp.float32, jnp.bfloat16, jnp.float16):
    raise NotImplementedError(
      f"pallas_gpu takes float32, bfloat16 and float16, got {query.dtype}"
    )
  if query.shape[-1] > 256:
    raise NotImplementedError(
      f"pallas_gpu takes heads of up to 256 channels, got {query.shape[-1]}"
    )
  for block in (blocks.block_query, blocks.block_key):
    if block < 16 or block & (block - 1):
      raise NotImplementedError(
        f"pallas_gpu takes blocks of 16, 32, 64, ... tokens, got {block}"
      )


def forward(query, key, value, bias, blocks, options):
  """See `sparse.Backend`."""
  dim = query.shape[-1]
  query, key, value = map(_widen, (query, key, value))
  out, logsumexp = Walk.over_keys(query, blocks, options, step=64).call(
    kernels.forward,
    (query, blocks.query),
    (key, value, bias, blocks.key),
    (
      struct_like(query.shape, query.dtype, query, key, value),
      struct_like(query.shape[:3], jnp.float32, query, key),
    ),
    products=2,
  )
  return out[..., :dim], logsumexp, None, None


def backward(
  query, key, value, bias, blocks, logsumexp, delta, out_grad, options
):
  """See `sparse.Backend`."""
  dim = query.shape[-1]
  query, key, value, out_grad = map(_widen, (query, key, value, out_grad))
  queries = query, out_grad, logsumexp, delta, blocks.query
  keys = key, value, bias, blocks.key
  like = query, key, value, out_grad
  (query_grad,) = Walk.over_keys(query, blocks, options, step=32).call(
    kernels.query_gradient,
    queries,
    keys,
    (struct_like(query.shape, query.dtype, *like),),
    products=3,
  )
  outs = [struct_like(x.shape, x.dtype, *like) for x in (key, value)]
  if bias is not None:
    outs.append(struct_like(key.shape[:3], jnp.float32, *like))
  key_grad, value_grad, *bias_grad = Walk.over_queries(
    query, blocks, options, step=32
  ).call(
    kernels.key_gradients,
    keys,
    queries,
    outs,
    products=4,
  )
  return (
    query_grad[..., :dim],
    key_grad[..., :dim],
    value_grad[..., :dim],
    bias_grad[0].sum(1) if bias_grad else None,
  )


def _widen(x):
  """Zeros up to a head of 16, 32, 64, ... channels: they change no logit."""
  dim = x.shape[-1]
  missing = max(16, pl.next_power_of_2(dim)) - dim
  return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)]) if missing else x
