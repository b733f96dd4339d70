"""The attention kernels, one by one, as a case for `topology`."""

import dataclasses

import jax

from trajvit.ops.attention import from_pattern, pallas_tpu, sequence
from trajvit.ops.attention.pallas_tpu import vmem
from trajvit.ops.attention.pattern import Dense
from trajvit.ops.attention.sparse import Options

STEPS = ("forward", "query_gradient", "key_gradients")


def build(
  step: str,
  length: int,
  head_dim: int,
  *,
  heads: int = 2,
  dtype: str = "bfloat16",
  block_query: int = 256,
  block_key: int = 128,
  bias: bool = False,
  tile_max: bool = False,
  skip_below: float | None = None,
  vmem_budget: int = vmem.BUDGET,
):
  """Returns (program, arguments) of one kernel, over packed rows.

  Args:
    step: a name in STEPS.
    length: tokens in a row; one row a device.
    head_dim: d.
    heads: K.
    dtype: of queries, keys and values.
    block_query: queries in a tile.
    block_key: keys in a tile.
    bias: add one to the logits of each key.
    tile_max: see `attend`.
    skip_below: see `attend`.
    vmem_budget: bytes, see `pallas_tpu.vmem`.
  """
  options = Options(head_dim**-0.5, tile_max, skip_below)

  def build_mask(segments):
    return from_pattern(
      Dense(),
      sequence(length, segments=segments),
      block_query=block_query,
      block_key=block_key,
    )

  def program(mask, query, key, value, logsumexp, delta, out_grad, bias):
    inputs = query, key, value, bias, mask
    with vmem.budget(vmem_budget):
      if step == "forward":
        got = pallas_tpu.forward(*inputs, options)
      else:
        got = pallas_tpu.backward(*inputs, logsumexp, delta, out_grad, options)
        got = got[:1] if step == "query_gradient" else got[1:]
    return [each for each in got if each is not None]

  def array(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct((1, *shape), dtype)

  mask = jax.eval_shape(build_mask, array(length, dtype="int32"))
  # A sum over clips, which devices cannot divide and kernels do not read.
  mask = dataclasses.replace(mask, dropped=None)
  tokens = array(heads, length, head_dim, dtype=dtype)
  row = array(heads, length)
  arguments = [mask, tokens, tokens, tokens, row, row, tokens]
  return program, [*arguments, array(length) if bias else None]
