"""Dense attention that others wrote: cuDNN's on GPU, splash attention on TPU.

Each does only the calls that it does as `attend` defines them, and refuses the
rest: nothing is ignored, rounded on the way or left to chance where a query has
no keys. Neither tells the logsumexp with a gradient, so `Attended` has none.
"""

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_kernel as kernels,
)
from jax.experimental.pallas.ops.tpu.splash_attention import (
  splash_attention_mask as masks,
)
from jax.extend.backend import get_backend

from trajvit.mesh import mesh_sizes
from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.sparse import Attended


def cudnn(query, key, value, *, mask, bias, scale) -> Attended:
  """Returns attention by cuDNN; see `attend` for the arguments.

  Without segments nothing of the size of the logits is made: the keys that are
  real move to the front, and cuDNN is told how many they are. With segments it
  gets a mask, [B, 1, Nq, Nk] in the dtype of the query.

  Raises:
    NotImplementedError: cuDNN cannot do this.
  """
  check_cudnn(query, key, mask=mask, bias=bias)
  key, value = _zero_padding(mask, key, value)
  limits, seen = {}, True
  if mask.query_segments is not None:
    allowed = mask.allowed()
    limits = dict(mask=allowed)
    seen = allowed.any(-1).swapaxes(1, 2)[..., None]  # [B, Nq, 1, 1]
  elif mask.keys is not None:
    order = jnp.argsort(~mask.keys, axis=1, stable=True)[..., None, None]
    key, value = (jnp.take_along_axis(x, order, axis=1) for x in (key, value))
    lengths = mask.keys.sum(1, dtype=jnp.int32)
    limits = dict(key_value_seq_lengths=jnp.maximum(lengths, 1))
    seen = (lengths > 0)[:, None, None, None]
  out = jax.nn.dot_product_attention(
    query, key, value, scale=scale, implementation="cudnn", **limits
  )
  return Attended(out=jnp.where(seen, out, 0), logsumexp=None)


def check_cudnn(query, key, *, mask, bias) -> None:
  """Raises NotImplementedError for what `cudnn` cannot do, here or at all."""
  _refuse_lists("cudnn", mask)
  if bias is not None:
    raise NotImplementedError(
      "cudnn rounds a bias to the dtype of the query, which is not exact"
    )
  if query.dtype not in (jnp.bfloat16, jnp.float16):
    raise NotImplementedError(
      f"cudnn takes bfloat16 and float16, got {query.dtype}"
    )
  if query.shape[-1] % 8 or query.shape[-1] > 128:
    raise NotImplementedError(
      "cudnn takes heads of 8, 16, ... 128 channels on every GPU, got "
      f"{query.shape[-1]}"
    )
  lengths = query.shape[1], key.shape[1]
  if mask.query_segments is not None and (lengths[0] % 2 or lengths[1] % 2):
    raise NotImplementedError(
      f"cudnn takes segments of even numbers of tokens, got {lengths}"
    )
  here = get_backend()
  if "cuda" not in here.platform_version:
    raise NotImplementedError(
      f"cudnn needs an NVIDIA GPU, this process runs on {here.platform}"
    )
  capability = jax.local_devices()[0].compute_capability
  if tuple(map(int, capability.split("."))) < (8, 0):
    raise NotImplementedError(
      f"cudnn needs compute capability 8.0, this GPU has {capability}"
    )


def splash(
  query, key, value, *, mask, bias, scale, interpret: bool = False
) -> Attended:
  """Returns attention by JAX's splash kernel for TPU; see `attend`.

  The query is scaled beforehand, in its own dtype: in bfloat16 that rounds it
  once more unless the scale is a power of two.

  Raises:
    NotImplementedError: splash cannot do this.
  """
  check_splash(query, key, mask=mask, bias=bias)
  key, value = _zero_padding(mask, key, value)
  segments, seen = _segments(mask, query, key)
  heads, lengths = query.shape[2], (query.shape[1], key.shape[1])
  kernel = kernels.make_splash_mha(
    masks.MultiHeadMask([masks.FullMask(lengths)] * heads),
    block_sizes=_block_sizes(*lengths),
    head_shards=1,
    q_seq_shards=1,
    residual_checkpoint_name="attention_out",
    interpret=interpret,
  )
  heads_first = [x.swapaxes(1, 2) for x in (query * scale, key, value)]
  out = jax.vmap(kernel)(*heads_first, segments).swapaxes(1, 2)
  # A query without keys gets the mean of the values from splash. Its gradient
  # is 0 everywhere once that of its output is.
  return Attended(out=jnp.where(seen, out, 0), logsumexp=None)


def check_splash(query, key, *, mask, bias) -> None:
  """Raises NotImplementedError for what `splash` cannot do."""
  _refuse_lists("splash", mask)
  if bias is not None:
    raise NotImplementedError("splash takes no bias")
  if query.dtype not in (jnp.float32, jnp.bfloat16):
    raise NotImplementedError(
      f"splash takes float32 and bfloat16, got {query.dtype}"
    )
  lengths = query.shape[1], key.shape[1]
  if lengths[0] % 128 or lengths[1] % 128:
    raise NotImplementedError(
      f"splash takes multiples of 128 tokens, got {lengths}"
    )
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.manual_axes or mesh_sizes() is not None:
    raise NotImplementedError(
      "splash does not say how its outputs vary over a mesh, as jax.shard_map "
      "asks of a kernel; pallas_tpu does"
    )


def _segments(mask, query, key):
  """SegmentIds or None, and which queries have keys, [B, Nq or 1, 1, 1]."""
  if mask.query_segments is None and mask.keys is None:
    return None, True
  queries, keys = mask.query_segments, mask.key_segments
  if queries is None:
    queries = jnp.zeros(query.shape[:2], jnp.int32)
    keys = jnp.zeros(key.shape[:2], jnp.int32)
  if mask.keys is not None:
    keys = jnp.where(mask.keys, keys, jnp.iinfo(jnp.int32).min)
  same = queries[:, :, None] == keys[:, None, :]
  seen = (same & (keys >= 0)[:, None, :]).any(-1)
  return kernels.SegmentIds(queries, keys), seen[..., None, None]


def _block_sizes(queries: int, keys: int) -> kernels.BlockSizes:
  """The largest tiles, up to 512 x 512, of which there is a whole number."""
  query, key = (
    max(size for size in (128, 256, 512) if length % size == 0)
    for length in (queries, keys)
  )
  return kernels.BlockSizes(
    block_q=query,
    block_kv=key,
    block_q_dkv=query,
    block_kv_dkv=key,
    block_q_dq=query,
    block_kv_dq=key,
  )


def _refuse_lists(name: str, mask: AttentionMask | BlockMask) -> None:
  if isinstance(mask, BlockMask):
    raise NotImplementedError(f"{name} takes no BlockMask")


def _zero_padding(mask, key, value):
  """Zeros in padding: a NaN there would reach real tokens through 0 * NaN."""
  if mask.keys is None:
    return key, value
  real = mask.keys[:, :, None, None]
  return jnp.where(real, key, 0), jnp.where(real, value, 0)
