"""The `pallas_tpu` backend: kernels that walk lists of tiles on a TPU.

`rows` is what they walk by, `operands` how tiles reach them, `flash` what is
computed with one, `launch` makes programs of that, `vmem` says what fits. Every
kernel writes each of its outputs once: no atomics, and results do not depend on
the order in which programs run.
"""

import functools

import jax
import jax.numpy as jnp

from trajvit.ops.attention.pallas_tpu import flash
from trajvit.ops.attention.pallas_tpu.launch import Kernel, launch
from trajvit.ops.attention.pallas_tpu.operands import Operand
from trajvit.ops.attention.pallas_tpu.rows import LANES

_DTYPES = (jnp.float32, jnp.bfloat16)
_CHANNELS = 8


def check(query, blocks, options):
  """Refuses blocks that are not whole registers, and other dtypes."""
  del options
  sizes = blocks.block_query, blocks.block_key
  if any(size % LANES for size in sizes):
    raise NotImplementedError(
      f"pallas_tpu takes blocks of multiples of {LANES} tokens, got {sizes}"
    )
  if query.dtype not in _DTYPES:
    raise NotImplementedError(
      f"pallas_tpu takes float32 and bfloat16, got {query.dtype}"
    )


def forward(query, key, value, bias, blocks, options):
  """See `sparse.Backend`."""
  grid = (*query.shape[:2], query.shape[2] // blocks.block_query)
  number = key.shape[2] // blocks.block_key
  lanes = -(-number // LANES) * LANES
  outs = {
    "out": _matrix(query),
    "logsumexp": _type((*grid[:2], 1, query.shape[2]), jnp.float32),
  }
  statistics = grid[0], grid[1], 1, grid[2] * lanes
  if options.tile_max:
    outs["tile_max"] = _type(statistics, jnp.float32)
  if options.skip_below is not None:
    outs["kept"] = _type(statistics, jnp.int32)
  block, width = blocks.block_query, query.shape[3]
  scratch = {"top": (1, block), "total": (1, block), "sum": (width, block)}
  if len(outs) > 2:
    scratch["peaks"] = (lanes, block)
  kernel = Kernel(
    name="attention_forward",
    body=functools.partial(flash.forward, rule=_rule(bias, blocks, options)),
    stays={"query": _matrix(query), "query_places": _places(blocks.query)},
    moves=_keys(key, value, bias, blocks),
    outs=outs,
    scratch=scratch,
    block=blocks.block_key,
    products=2,
    one_by_one=options.skip_below is not None,
  )
  got = launch(kernel, blocks.key_lists, grid, options.interpret)
  for name in ("tile_max", "kept"):
    if name in got:
      got[name] = got[name].reshape(*grid, lanes)[..., :number]
  kept = got["kept"] > 0 if "kept" in got else None
  return got["out"], got["logsumexp"][:, :, 0], got.get("tile_max"), kept


def backward(
  query, key, value, bias, blocks, logsumexp, delta, out_grad, options
):
  """See `sparse.Backend`."""
  rule = _rule(bias, blocks, options)
  queries = {
    "query": _matrix(query),
    "out_grad": _matrix(out_grad),
    "logsumexp": _row(logsumexp),
    "delta": _row(delta),
    "query_places": _places(blocks.query),
  }
  keys = _keys(key, value, bias, blocks)
  width = query.shape[3]
  over_keys = Kernel(
    name="attention_query_gradient",
    body=functools.partial(flash.query_gradient, rule=rule),
    stays=queries,
    moves=keys,
    outs={"query_grad": _matrix(query)},
    scratch={"sum": (width, blocks.block_query)},
    block=blocks.block_key,
    products=3,
  )
  outs = {"key_grad": _matrix(key), "value_grad": _matrix(value)}
  scratch = dict.fromkeys(("key_sum", "value_sum"), (blocks.block_key, width))
  if bias is not None:
    shape = *key.shape[:2], 1, key.shape[2]
    outs["bias_grad"] = _type(shape, jnp.float32)
    scratch["bias_sum"] = blocks.block_key, 1
  over_queries = Kernel(
    name="attention_key_gradients",
    body=functools.partial(flash.key_gradients, rule=rule),
    stays=keys,
    moves=queries,
    outs=outs,
    scratch=scratch,
    block=blocks.block_query,
    products=2,
  )
  grid = query.shape[:2]
  got = launch(
    over_keys,
    blocks.key_lists,
    (*grid, query.shape[2] // blocks.block_query),
    options.interpret,
  )
  got |= launch(
    over_queries,
    blocks.query_lists,
    (*grid, key.shape[2] // blocks.block_key),
    options.interpret,
  )
  bias_grad = None if bias is None else got["bias_grad"].sum((1, 2))
  return got["query_grad"], got["key_grad"], got["value_grad"], bias_grad


def _rule(bias, blocks, options):
  return flash.Rule(
    scale=options.scale,
    biased=bias is not None,
    allowed=blocks.allowed,
    skip_below=options.skip_below,
  )


def _keys(key, value, bias, blocks):
  operands = {
    "key": _matrix(key),
    "value": _matrix(value),
    "key_places": _places(blocks.key),
  }
  if bias is not None:
    operands["bias"] = Operand(bias[:, None, None, :], axis=1)
  return operands


def _matrix(x):
  return Operand(x, axis=0)


def _row(x):
  return Operand(x[:, :, None, :], axis=1)


def _type(shape, dtype):
  return Operand(jax.ShapeDtypeStruct(shape, dtype), axis=1)


def _places(coordinates):
  """Coordinates as [B or 1, 1, 8, S] int32: as many rows as a register has."""
  places = jnp.stack(jax.tree.leaves(coordinates), axis=1)
  missing = _CHANNELS - places.shape[1]
  places = jnp.pad(places, [(0, 0), (0, missing), (0, 0)])
  return Operand(places[:, None], axis=1)
