"""LinVT: tokens that stay linear in the features of an image model."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention import SelfAttention
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.attention_with_shares import AttentionWithShares
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.reducer import Reducer
from trajvit.ops.attention import AttentionMask
from trajvit.ops.learned_tokens import (
  average,
  behind_protected,
  mixtures,
  unprotected,
)
from trajvit.ops.selection import select
from trajvit.ops.token_grid import on_grid
from trajvit.reducers.attention_pool import learned_queries, repeated
from trajvit.types import Tokens


class LinVT(Reducer):
  """Selects patches, pools them at some scales, and averages by attention.

  Source: LinVT, arXiv:2412.05185. Layers of attention in space, then in time,
  without residuals and norms, score all patches. The best are pooled over runs
  of 1, 2 and 4 in raster order. Learned queries read themselves and the pooled
  patches, layer by layer with norms behind, and finally average these: each
  head's slice of a token is a mean of that slice of patches, nothing else.

  The released code attends across the clips of a batch, pools in the order of
  scores, and never trains them. Here space is a frame, the order is raster, and
  a chosen patch is multiplied by s / stop_gradient(s), which is 1 and carries
  the gradient to its score. There is no text to read.

  Args:
    k: slots afterwards. With P other tokens the first k - P queries are used.
    grid: (T, h, w) of the patches, the last T h w slots.
    width: D.
    num_heads: K.
    selected: patches that are chosen, all if there are no more.
    windows: lengths of the runs that are pooled.
    depth: layers in space and time that score patches.
    query_depth: layers of the queries.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    num_heads: int,
    selected: int = 1024,
    windows: tuple[int, ...] = (1, 2, 4),
    depth: int = 1,
    query_depth: int = 1,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.k, self.grid, self.selected = k, tuple(grid), selected
    self.windows = tuple(windows)
    options = dict(dtype=dtype, rngs=rngs)

    def attentions():
      return nnx.List(
        [SelfAttention(width, num_heads, **options) for _ in range(depth)]
      )

    self.space, self.time = attentions(), attentions()
    self.score = Linear(width, 1, **options)
    self.latents = learned_queries(k, width, rngs)
    self.layers = nnx.List(
      [QueryLayer(width, num_heads, **options) for _ in range(query_depth)]
    )
    self.mix = AttentionWithShares(width, num_heads, linear=True, **options)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens and the averages.

    Aux: `score` [B, T h w] float32, of every patch.

    Raises:
      ValueError: k leaves no slot for an average, or there are fewer than
        T h w tokens.
    """
    del key
    patches = on_grid(tokens, self.grid)
    prefix = patches.prefix
    if self.k <= prefix:
      raise ValueError(
        f"k must be more than the {prefix} tokens that are no patches, "
        f"got {self.k}"
      )
    score = self._score(patches)
    source = jax.tree.map(lambda x: x[:, prefix:], unprotected(tokens))
    log = jax.nn.log_sigmoid(score)
    carrier = jnp.exp(log - jax.lax.stop_gradient(log))[..., None]
    scored = source.features * carrier.astype(source.features.dtype)
    count = min(self.selected, score.shape[1])
    chosen, _ = select(
      dataclasses.replace(source, features=scored), score, count
    )
    x, mask, positions = pool_runs(chosen, self.windows)

    queries = repeated(self.latents, x)[:, : self.k - prefix]
    for layer in self.layers:
      queries = layer(queries, x, mask)
    features, shares = self.mix(queries, x, x, mask)
    new = mixtures(source, features, average(shares, positions))
    return behind_protected(tokens, new, self.k), {"score": score}

  def _score(self, patches):
    """[B, T n] float32."""
    x, mask = patches.features, patches.mask  # [B, T, n, D]
    for space, time in zip(self.space, self.time, strict=True):
      x = _attend(space, x, mask)
      x = _attend(time, jnp.swapaxes(x, 1, 2), jnp.swapaxes(mask, 1, 2))
      x = jnp.swapaxes(x, 1, 2)
    score = self.score(x)[..., 0].astype(jnp.float32)
    return jnp.where(mask, score, 0).reshape(mask.shape[0], -1)


class QueryLayer(nnx.Module):
  """Queries read themselves and then a set, with a norm behind each."""

  def __init__(self, width, num_heads, *, dtype, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.attention = SelfAttention(width, num_heads, **options)
    self.norm_attention = LayerNorm(width, dtype=dtype)
    self.read = AttentionWithShares(width, num_heads, **options)
    self.norm_read = LayerNorm(width, dtype=dtype)

  def __call__(self, queries, x, mask):
    """Returns the queries [B, M, D] after reading x [B, N, D]."""
    y, _ = self.attention(queries)
    queries = self.norm_attention(queries + y)
    read, _ = self.read(queries, x, x, mask)
    return self.norm_read(queries + read)


def pool_runs(
  tokens: Tokens, windows: tuple[int, ...]
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the means over runs of so many tokens, for each length in turn.

  Args:
    tokens: N tokens a clip, real ones first, zeros in masked slots.
    windows: lengths of the runs; the last one of a clip may be shorter.

  Returns:
    features [B, M, D], mask [B, M] and positions [B, M, 3], where M is the sum
    of ceil(N / length).
  """
  parts = []
  for window in windows:
    spare = -tokens.mask.shape[1] % window

    def runs(x, window=window, spare=spare):
      x = jnp.pad(x, ((0, 0), (0, spare)) + ((0, 0),) * (x.ndim - 2))
      return x.reshape(x.shape[0], -1, window, *x.shape[2:])

    mask = runs(tokens.mask)
    count = jnp.maximum(mask.sum(2), 1)[..., None]
    features = runs(tokens.features).astype(jnp.float32).sum(2) / count
    parts.append(
      (
        features.astype(tokens.features.dtype),
        mask.any(2),
        runs(tokens.positions).sum(2) / count,
      )
    )
  return tuple(jnp.concatenate(x, axis=1) for x in zip(*parts, strict=True))


def _attend(layer, x, mask):
  """Attention among the last but one axis of [B, S, N, D]."""
  rows = x.reshape(-1, *x.shape[2:])
  context = Context(mask=AttentionMask(keys=mask.reshape(-1, mask.shape[2])))
  out, _ = layer(rows, context)
  return jnp.where(mask[..., None], out.reshape(x.shape), 0)
