"""The attention kernels as jobs for `topology`, and the table of what came.

python -m trajvit.bench.attention_tpu > table.md
"""

import jax

from trajvit.ops.attention import from_pattern, pallas_tpu, sequence
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
  """
  options = Options(head_dim**-0.5, tile_max, skip_below)

  def program(segments, query, key, value, logsumexp, delta, out_grad, bias):
    mask = from_pattern(
      Dense(),
      sequence(length, segments=segments),
      block_query=block_query,
      block_key=block_key,
    )
    inputs = query, key, value, bias, mask
    if step == "forward":
      got = pallas_tpu.forward(*inputs, options)
    else:
      got = pallas_tpu.backward(*inputs, logsumexp, delta, out_grad, options)
      got = got[:1] if step == "query_gradient" else got[1:]
    return [each for each in got if each is not None]

  def array(*shape, dtype="float32"):
    return jax.ShapeDtypeStruct((1, *shape), dtype)

  tokens = array(heads, length, head_dim, dtype=dtype)
  row = array(heads, length)
  arguments = [
    array(length, dtype="int32"),
    tokens,
    tokens,
    tokens,
    row,
    row,
    tokens,
  ]
  return program, [*arguments, array(length) if bias else None]
