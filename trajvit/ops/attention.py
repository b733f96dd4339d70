"""The one entry to attention: every encoder of the project calls it."""

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AttentionMask:
  """Which queries may read which keys; None restricts nothing.

  Attributes:
    keys: [B, Nk] bool, False = padding that no query reads.
    query_segments: [B, Nq] int32, and
    key_segments: [B, Nk] int32: a query reads the keys of its own segment
      only. Both or neither.
  """

  keys: jax.Array | None = None
  query_segments: jax.Array | None = None
  key_segments: jax.Array | None = None

  def allowed(self) -> jax.Array | None:
    """Returns [B, 1, Nq or 1, Nk] bool, or None where all is allowed."""
    allowed = None
    if self.keys is not None:
      allowed = self.keys[:, None, None, :]
    if self.query_segments is not None:
      same = self.query_segments[:, :, None] == self.key_segments[:, None, :]
      allowed = same[:, None] if allowed is None else same[:, None] & allowed
    return allowed


def attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  *,
  mask: AttentionMask | None = None,
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
    bias: [B, Nk] float32, added to the logits of a key, such as the log of a
      merged token's size; or None.
    scale: of the logits; None is d ** -0.5.
    implementation: a name in IMPLEMENTATIONS, or "auto": the first that can do
      the call.

  Returns:
    [B, Nq, K, d] in the dtype of `query`; logits and softmax are float32.

  Raises:
    ValueError: an unknown implementation, or shapes that do not fit.
    NotImplementedError: the implementation that was asked for cannot do this.
  """
  mask = mask or AttentionMask()
  _check_shapes(query, key, value, mask, bias)
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  if implementation != "auto":
    if implementation not in IMPLEMENTATIONS:
      raise ValueError(
        f"unknown attention implementation {implementation!r}; "
        f"known: auto, {', '.join(IMPLEMENTATIONS)}"
      )
    run = IMPLEMENTATIONS[implementation]
    return run(query, key, value, mask=mask, bias=bias, scale=scale)
  reasons = []
  for run in IMPLEMENTATIONS.values():
    try:
      return run(query, key, value, mask=mask, bias=bias, scale=scale)
    except NotImplementedError as error:
      reasons.append(str(error))
  raise NotImplementedError("; ".join(reasons))


def reference(query, key, value, *, mask, bias, scale):
  """Attention in plain JAX, materialising the logits [B, K, Nq, Nk]."""
  if mask.keys is not None:
    real = mask.keys[:, :, None, None]
    key, value = jnp.where(real, key, 0), jnp.where(real, value, 0)
  logits = jnp.einsum(
    "bqkd,bskd->bkqs", query, key, preferred_element_type=jnp.float32
  )
  logits *= scale
  if bias is not None:
    logits += bias[:, None, None, :]
  allowed = mask.allowed()
  if allowed is None:
    weights = jax.nn.softmax(logits, axis=-1)
  else:
    # A finite floor, so that a row without keys has a finite softmax, which
    # the second `where` then makes exactly 0.
    floor = jnp.finfo(jnp.float32).min
    weights = jax.nn.softmax(jnp.where(allowed, logits, floor), axis=-1)
    weights = jnp.where(allowed, weights, 0)
  return jnp.einsum("bkqs,bskd->bqkd", weights.astype(value.dtype), value)


IMPLEMENTATIONS = {"reference": reference}


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
  expected = {
    "mask.keys": (mask.keys, key.shape[:2]),
    "mask.query_segments": (mask.query_segments, query.shape[:2]),
    "mask.key_segments": (mask.key_segments, key.shape[:2]),
    "bias": (bias, key.shape[:2]),
  }
  for name, (array, shape) in expected.items():
    if array is not None and array.shape != shape:
      raise ValueError(f"{name} must be {shape}, got {array.shape}")
  if (mask.query_segments is None) != (mask.key_segments is None):
    raise ValueError("query_segments and key_segments come together")
