"""The one entry to attention: every encoder of the project calls it."""

import contextlib
import contextvars
from collections.abc import Iterator

import jax

from trajvit.ops.attention.automatic import automatic
from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.dense import cudnn, splash
from trajvit.ops.attention.devices.ring import in_ring, ring_attention
from trajvit.ops.attention.devices.sharded import over_mesh
from trajvit.ops.attention.mask import AttentionMask, block_mask
from trajvit.ops.attention.reference import reference
from trajvit.ops.attention.sparse import (
  BACKENDS,
  Attended,
  Options,
  sparse_attention,
)

DENSE = {"reference": reference, "cudnn": cudnn, "splash": splash}
IMPLEMENTATIONS = ("auto", "portable", *DENSE, *BACKENDS)

_implementation = contextvars.ContextVar("implementation", default="auto")


@contextlib.contextmanager
def use_implementation(name: str) -> Iterator[None]:
  """Inside, "auto" means `name`: for what is traced to run elsewhere.

  An exported program must not hold kernels of one platform: it is traced with
  "portable".

  Raises:
    ValueError: an unknown implementation.
  """
  token = _implementation.set(_known(name))
  try:
    yield
  finally:
    _implementation.reset(token)


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  mask: AttentionMask | BlockMask | None = None,
  bias: jax.Array | None = None,
  scale: float | None = None,
  implementation: str = "auto",
) -> jax.Array:
  """Returns softmax(scale * query key^T + bias) value over the allowed keys.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    mask: which keys a query may read; a query that may read none returns
      exactly 0, with zero gradient. What padding keys hold is never read.
      With a BlockMask, only the tiles it lists are computed.
    bias: [B, Nk] float32, added to the logits of a key, such as the log of a
      merged token's size; or None. It has a gradient.
    scale: of the logits; None is d ** -0.5.
    implementation: a name in IMPLEMENTATIONS. "auto" is the fastest that can
      do the call on the platform it is compiled for; "portable" runs on all of
      them, `xla` for a BlockMask and `reference` for the rest.

  Returns:
    [B, Nq, K, d] in the dtype of `query`; logits and softmax are float32.

  Raises:
    ValueError: an unknown implementation, or shapes that do not fit.
    NotImplementedError: the implementation that was asked for cannot do this.
  """
  call = dict(mask=mask, bias=bias, scale=scale)
  name = _resolve(implementation, isinstance(mask, BlockMask))
  if name == "auto" and not isinstance(mask, BlockMask):
    mask, scale = _check(query, key, value, **call)
    return automatic(query, key, value, mask=mask, bias=bias, scale=scale)
  return attend(query, key, value, **call, implementation=name).out


def attend(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  mask: AttentionMask | BlockMask | None = None,
  bias: jax.Array | None = None,
  scale: float | None = None,
  implementation: str = "auto",
  tile_max: bool = False,
  skip_below: float | None = None,
  interpret: bool = False,
) -> Attended:
  """Returns attention with its statistics; see `attention` for the arguments.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    mask: AttentionMask, BlockMask or None.
    bias: [B, Nk] float32 or None.
    scale: of the logits.
    implementation: a name in IMPLEMENTATIONS; `cudnn` and `splash` return no
      logsumexp, and "auto" takes neither.
    tile_max: return the largest weight in each tile, the target that
      SeerAttention (arXiv:2410.13276) distils into its gate.
    skip_below: lambda in (0, 1) of BLASST (arXiv:2512.12087): a tile is left
      out once its largest logit is below the running maximum of every one of
      its queries by more than log(lambda). The gradient is that of the tiles
      that were kept.
    interpret: run Pallas kernels in the interpreter, on any platform.

  Raises:
    ValueError: as `attention`, and `skip_below` outside (0, 1).
    NotImplementedError: as `attention`.
  """
  mask, scale = _check(query, key, value, mask=mask, bias=bias, scale=scale)
  if skip_below is not None and not 0 < skip_below < 1:
    raise ValueError(f"skip_below must be in (0, 1), got {skip_below}")
  statistics = tile_max or skip_below is not None
  sparse = isinstance(mask, BlockMask) or statistics
  name = _resolve(implementation, sparse)
  if name in DENSE or (name == "auto" and not sparse):
    if statistics:
      raise NotImplementedError(f"{name} returns no statistics of tiles")
    run = DENSE["reference" if name == "auto" else name]
    return run(query, key, value, mask=mask, bias=bias, scale=scale)
  options = Options(scale, tile_max, skip_below, interpret)
  if isinstance(mask, BlockMask) and not statistics and in_ring(mask):
    return ring_attention(
      query, key, value, mask, bias, options=options, backend=name
    )

  def run(query, key, value, mask, bias):
    if isinstance(mask, AttentionMask):
      mask = block_mask(mask, query.shape[1], key.shape[1])
    return sparse_attention(
      query, key, value, mask, bias, options=options, backend=name
    )

  return over_mesh(run, query, key, value, mask, bias)


def _known(name):
  if name not in IMPLEMENTATIONS:
    raise ValueError(
      f"unknown attention implementation {name!r}; "
      f"known: {', '.join(IMPLEMENTATIONS)}"
    )
  return name


def _resolve(implementation, sparse):
  """The name, or what "auto" and "portable" mean for this call."""
  name = _known(implementation)
  name = _implementation.get() if name == "auto" else name
  if name == "portable":
    return "xla" if sparse else "reference"
  return name


def _check(query, key, value, *, mask, bias, scale):
  """The mask and the scale, with what None stands for put in."""
  mask = AttentionMask() if mask is None else mask
  _check_shapes(query, key, value, mask, bias)
  return mask, query.shape[-1] ** -0.5 if scale is None else scale


def _check_shapes(query, key, value, mask, bias):
  batch, _, heads, dim = query.shape
  if key.shape != value.shape or key.shape != (
    batch,
    key.shape[1],
    heads,
    dim,
  ):
    raise ValueError(
      f"key and value must be [{batch}, Nk, {heads}, {dim}] as the query, "
      f"got {key.shape} and {value.shape}"
    )
  if bias is not None and bias.shape != key.shape[:2]:
    raise ValueError(f"bias must be {key.shape[:2]}, got {bias.shape}")
  if isinstance(mask, BlockMask):
    lengths = mask.query_length, mask.key_length
    if lengths != (query.shape[1], key.shape[1]):
      raise ValueError(
        f"mask is for {lengths} queries and keys, got "
        f"{(query.shape[1], key.shape[1])}"
      )
    lists = mask.classes.shape
    if lists[0] not in (1, batch) or heads % lists[1]:
      raise ValueError(
        f"mask must have 1 or {batch} batches and heads that divide {heads}, "
        f"got {lists[:2]}"
      )
    return
  expected = {
    "mask.keys": (mask.keys, key.shape[:2]),
    "mask.query_segments": (mask.query_segments, query.shape[:2]),
    "mask.key_segments": (mask.key_segments, key.shape[:2]),
  }
  for name, (array, shape) in expected.items():
    if array is not None and array.shape != shape:
      raise ValueError(f"{name} must be {shape}, got {array.shape}")
  if (mask.query_segments is None) != (mask.key_segments is None):
    raise ValueError("query_segments and key_segments come together")
