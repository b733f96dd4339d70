"""TrajTok's perceiver: latents that read a space-time grid of features."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.gated_mlp import GatedMlp
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.ops.attention import AttentionMask, attend, attention, merge
from trajvit.ops.position import rotary, rotary_3d
from trajvit.ops.token_grid import grid_indices

POSITIONS = ("rotary_3d", "rotary_1d")


class Perceiver(nnx.Module):
  """Latents attend to a grid [B, T, h, w, D], all of it or the cells they own.

  Source: the perceivers of TrajTok (CVPR 2026), both variants. A layer adds its
  attention to the *normalised* latents, by one norm that all layers share, and
  then a gated perceptron; no norm ends it.

  "rotary_3d": keys are the cells alone, turned by frame, row and column.
  Queries are not turned, so that the order of the latents has no meaning, and
  latents never see each other. A grid may have any number of frames.

  "rotary_1d": keys are the latents and then the cells, both normed once more in
  every layer, and queries and keys are turned by their index in that sequence:
  a raster index, in which neighbours of a column or a frame are far apart. It
  is what the released weights were trained with.

  Args:
    width: D of the grid, the latents and the result.
    num_heads: K; heads have D / K channels, at least 12 in "rotary_3d".
    depth: number of layers.
    position: "rotary_3d" or "rotary_1d".
    mlp_ratio: hidden width of the perceptron, in widths.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    width: int,
    *,
    num_heads: int,
    depth: int = 2,
    position: str = "rotary_3d",
    mlp_ratio: int = 4,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if position not in POSITIONS:
      raise ValueError(
        f"position must be one of {', '.join(POSITIONS)}, got {position!r}"
      )
    if width % num_heads:
      raise ValueError(
        f"width must be divisible by num_heads, got {width} and {num_heads}"
      )
    if depth < 1:
      raise ValueError(f"depth must be at least 1, got {depth}")
    self.norm_context = LayerNorm(width, dtype=dtype)
    self.norm_latents = LayerNorm(width, dtype=dtype)
    options = dict(mlp_ratio=mlp_ratio, dtype=dtype, rngs=rngs)
    layer = GridLayer if position == "rotary_3d" else SequenceLayer
    self.layers = nnx.List(
      [layer(width, num_heads, **options) for _ in range(depth)]
    )

  def __call__(
    self,
    latents: jax.Array,
    x: jax.Array,
    *,
    mask: jax.Array | None = None,
    slots: jax.Array | None = None,
    owner: jax.Array | None = None,
    open_cells: int = 0,
  ) -> jax.Array:
    """Returns the latents after reading the grid.

    A latent that may read no cell stays what its norms and perceptrons make of
    it, for the caller to mask.

    Args:
      latents: [B, R, D].
      x: [B, T, h, w, D].
      mask: [B, T, h, w] bool, False = padding, never read; None = all real.
      slots: [R] int32, the slot of each latent, and
      owner: [B, T, h, w] int32, the slot of each cell, -1 = none: a latent then
        reads the cells of its slot only and, in "rotary_1d", the latents of its
        slot. Both or neither.
      open_cells: so many cells at the end of the grid are read by all latents
        whatever their slot: 2 in the released TrajTok code.

    Returns:
      [B, R, D] in `dtype`.
    """
    batch, *grid, width = x.shape
    x = x.reshape(batch, -1, width)  # [B, N, D]
    if mask is not None:
      mask = mask.reshape(batch, -1)
      x = jnp.where(mask[..., None], x, 0)
    else:
      mask = jnp.ones(x.shape[:2], bool)
    segments = None
    if owner is not None:
      of_latents = jnp.broadcast_to(slots, latents.shape[:2])
      segments = of_latents, owner.reshape(batch, -1)
    x = self.norm_context(x)
    for layer in self.layers:
      latents = layer(
        self.norm_latents(latents),
        x,
        grid=grid,
        mask=mask,
        segments=segments,
        open_cells=open_cells,
      )
    return latents


class ReadingLayer(nnx.Module):
  """Attention and a gated perceptron, each added to the latents."""

  def __init__(self, width, num_heads, *, mlp_ratio, dtype, rngs):
    self.num_heads = num_heads
    options = dict(init="torch", dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, bias=False, **options)
    self.key_value = Linear(width, 2 * width, bias=False, **options)
    self.out = Linear(width, width, bias=False, **options)
    self.norm_mlp = LayerNorm(width, dtype=dtype)
    self.mlp = GatedMlp(width, mlp_ratio * width, width, **options)

  def _heads(self, queries, context):
    """Query, key and value, [B, N, K, d]."""
    key, value = jnp.split(self.key_value(context), 2, axis=-1)
    heads = self.query(queries), key, value
    return [x.reshape(*x.shape[:2], self.num_heads, -1) for x in heads]

  def _finish(self, latents, read):
    latents = latents + self.out(read.reshape(latents.shape))
    return latents + self.mlp(self.norm_mlp(latents))


class GridLayer(ReadingLayer):
  """A layer of the 3-D variant: it reads cells by where and when they are."""

  def __call__(self, latents, x, *, grid, mask, segments, open_cells):
    """Returns the latents [B, R, D] after reading the cells [B, N, D]."""
    query, key, value = self._heads(latents, x)
    key = rotary_3d(key, jnp.asarray(grid_indices(tuple(grid))))
    return self._finish(
      latents, _read(query, key, value, mask, segments, open_cells)
    )


class SequenceLayer(ReadingLayer):
  """A layer of the 1-D variant: it reads latents and cells as one sequence."""

  def __init__(self, width, num_heads, *, mlp_ratio, dtype, rngs):
    super().__init__(
      width, num_heads, mlp_ratio=mlp_ratio, dtype=dtype, rngs=rngs
    )
    self.norm_cells = LayerNorm(width, epsilon=1e-5, dtype=dtype)
    self.norm_queries = LayerNorm(width, epsilon=1e-5, dtype=dtype)

  def __call__(self, latents, x, *, grid, mask, segments, open_cells):
    """Returns the latents [B, R, D] after reading both, as `GridLayer`."""
    del grid
    queries = self.norm_queries(latents)
    both = jnp.concatenate([queries, self.norm_cells(x)], axis=1)
    query, key, value = self._heads(queries, both)
    dim = query.shape[-1] // 4 * 2  # half of the head, made even
    query = rotary(query, jnp.arange(query.shape[1]), dim)
    key = rotary(key, jnp.arange(key.shape[1]), dim)
    real = jnp.ones(latents.shape[:2], bool)
    mask = jnp.concatenate([real, mask], axis=1)
    if segments is not None:
      segments = segments[0], jnp.concatenate(segments, axis=1)
    return self._finish(
      latents, _read(query, key, value, mask, segments, open_cells)
    )


def _read(query, key, value, mask, segments, open_cells):
  """Attention to the real keys of one's segment, and to the last few keys."""
  if segments is None:
    return attention(query, key, value, mask=AttentionMask(keys=mask))
  closed = AttentionMask(mask, *segments)
  if not open_cells:
    return attention(query, key, value, mask=closed)
  cut = key.shape[1] - open_cells
  own = AttentionMask(mask[:, :cut], segments[0], segments[1][:, :cut])
  shared = AttentionMask(keys=mask[:, cut:])
  return merge(
    attend(query, key[:, :cut], value[:, :cut], mask=own),
    attend(query, key[:, cut:], value[:, cut:], mask=shared),
  ).out
