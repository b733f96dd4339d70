"""What "auto" means where no BlockMask says which tiles to compute."""

import jax

from trajvit.ops.attention.dense import (
  check_cudnn,
  check_splash,
  cudnn,
  splash,
)
from trajvit.ops.attention.devices.sharded import over_mesh
from trajvit.ops.attention.mask import AttentionMask, block_mask
from trajvit.ops.attention.reference import reference
from trajvit.ops.attention.sparse import Attended, Options, sparse_attention

# With fewer queries or keys than this the logits are small, and a kernel has
# too few tiles to share out.
LONG = 1024


def automatic(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  mask: AttentionMask,
  bias: jax.Array | None,
  scale: float,
) -> jax.Array:
  """Returns dense attention [B, Nq, K, d] by what suits the platform.

  On NVIDIA GPUs that is cuDNN for the calls that it does. Long sequences on TPU
  go to splash attention, or to the list kernel with all tiles listed; there the
  platform is the one that the program is lowered for, which need not be at
  hand. All else is the reference.

  A kernel must know how arrays lie on several devices: without a mesh in JAX's
  context they are left to the reference.

  Args:
    query: as in `attend`, and so on.
    key: likewise.
    value: likewise.
    mask: likewise.
    bias: likewise.
    scale: likewise.
  """
  call = dict(mask=mask, bias=bias)
  if _able(check_cudnn, query, key, **call):
    return cudnn(query, key, value, scale=scale, **call).out
  short = min(query.shape[1], key.shape[1]) < LONG
  if short or (_without_mesh() and jax.device_count() > 1):
    return reference(query, key, value, scale=scale, **call).out

  def local(*inputs):
    out = jax.lax.platform_dependent(
      *inputs,
      tpu=lambda *inputs: _on_tpu(*inputs, scale),
      default=lambda *inputs: _plain(*inputs, scale),
    )
    return Attended(out=out, logsumexp=None)

  return over_mesh(local, query, key, value, mask, bias, cut_queries=True).out


def _plain(query, key, value, mask, bias, scale):
  call = dict(mask=mask, bias=bias, scale=scale)
  return reference(query, key, value, **call).out


def _on_tpu(query, key, value, mask, bias, scale):
  if _able(check_splash, query, key, mask=mask, bias=bias):
    call = dict(mask=mask, bias=bias, scale=scale)
    return splash(query, key, value, **call).out
  blocks = block_mask(mask, query.shape[1], key.shape[1], block_query=256)
  return sparse_attention(
    query, key, value, blocks, bias, options=Options(scale), backend="auto"
  ).out


def _able(check, *args, **kwargs) -> bool:
  try:
    check(*args, **kwargs)
  except NotImplementedError:
    return False
  return True


def _without_mesh() -> bool:
  return jax.sharding.get_abstract_mesh().empty
