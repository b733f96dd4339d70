"""DART: regions of unequal size, cut where a learned score says."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.ops.quantiles import overlap, quantile_edges
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens

# The least score of a patch: no region can swallow the whole frame.
FLOOR = 0.1


class DartTokenizer(nnx.Module):
  """DART: many small regions where patches score high, few large elsewhere.

  Source: DART, arXiv:2506.10390. A frame is first cut into rows of equal score,
  then these are laid end to end, and quantiles of the score along that strip
  cut it into regions of any width; one may begin at the end of a row and go on
  in the next. Edges are real numbers and move with the scores, so that the
  loss teaches what deserves tokens. As in the released code, a new row scores
  the mean of the patches it covers: thin rows get more than an equal share.

  We differ: scores come from the patches and not from a frozen CNN; they are
  standardised in a frame or clip and not over the batch, on which a clip's
  tokens would then depend; a region is the mean of its patches, weighted by
  the covered area, in place of pixels sampled to a square of fixed size. The
  released cut is for images; to share tokens out between frames, by laying all
  their strips end to end (`scope="clip"`), is ours.

  Args:
    patch: (frames, rows, columns) of the patches that are scored and pooled.
    num_tokens: K, of a frame of patches or of the clip, as `scope` says.
    rows: new rows in a frame; None is about as many as regions in a row.
    scope: "frame": every frame is cut alone, N = t K, the frames being those of
      the grid of patches; "clip": one strip through all of them, N = K.
    score_dim: hidden width of the score.
    mlp_ratio: hidden width, in widths, of what patches pass before pooling.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products; scores and pooling are float32.
    rngs: holds the key of the initial values.
  """

  needs_tracks = False

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (1, 8, 8),
    num_tokens: int = 16,
    rows: int | None = None,
    scope: str = "frame",
    score_dim: int = 64,
    mlp_ratio: int = 2,
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if scope not in ("frame", "clip"):
      raise ValueError(f"scope must be 'frame' or 'clip', got {scope!r}")
    options = dict(dtype=dtype, rngs=rngs)
    self.patches = TubeletTokenizer(
      patch=patch, width=width, clip_shape=clip_shape, **options
    )
    frames = 1 if scope == "frame" else self.patches.grid[0]
    if rows is None:
      rows = max(round((num_tokens / frames) ** 0.5), 1)
    if num_tokens < 1 or rows < 1:
      raise ValueError(
        f"num_tokens and rows must be at least 1, got {num_tokens} and {rows}"
      )
    self.num_tokens, self.rows, self.scope = num_tokens, rows, scope
    self.norm = LayerNorm(width, dtype=dtype)
    self.mlp = Mlp(width, mlp_ratio * width, **options)
    self.hidden = Linear(width, score_dim, **options)
    self.score = Linear(score_dim, 1, rngs=rngs)

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns the regions along the strip, frame after frame.

    Args:
      clip: `frames` [B, T, H, W, 3] float.
      key: unused.

    Returns:
      Tokens; a region without a real patch is masked. `size` is the covered
      area in patches, which adds up to the real patches, `positions` the mean
      over it. Aux, for the grid of patches (t, h, w):
      `score` [B, t, h, w] float32 in [0.1, 1.1], 0 in padding;
      `row_edges` [B, t, R + 1] float32, in rows of patches;
      `edges` [B, F, K + 1] float32 along the strip of t / F frames, in patches;
      `assignment` [B, t, h, w] int32 in [0, N), the region that owns the middle
      of a patch, -1 in padding.

    Raises:
      ValueError: the clip is not of the shape this was built for.
    """
    del key
    patches, _ = self.patches(clip)
    grid = (patches.mask.shape[0], *self.patches.grid)
    real = patches.mask.reshape(grid)
    normed = self.norm(patches.features)
    features = patches.features + self.mlp(normed)
    score = self._score(normed.reshape(*grid, -1), real)

    # [B, t, R, h], how much of an old row lies in a new one.
    row_edges = quantile_edges(score.sum(-1), self.rows)
    cover = overlap(row_edges, grid[2])
    row_score = jnp.einsum("btrh,bthw->btrw", cover, score)
    row_score /= jnp.maximum(cover.sum(-1, keepdims=True), 1e-6)
    content = jnp.concatenate(
      [
        features.astype(jnp.float32),
        patches.positions,
        jnp.ones((*patches.mask.shape, 1)),
      ],
      axis=-1,
    )
    content = jnp.where(patches.mask[..., None], content, 0)
    strip = jnp.einsum("btrh,bthwc->btrwc", cover, content.reshape(*grid, -1))

    spans = grid[1] if self.scope == "frame" else 1  # F
    strip = strip.reshape(grid[0], spans, -1, strip.shape[-1])  # [B, F, L, .]
    edges = quantile_edges(row_score.reshape(strip.shape[:-1]), self.num_tokens)
    pooled = jnp.einsum(
      "bfkl,bflc->bfkc", overlap(edges, strip.shape[2]), strip
    )
    pooled = pooled.reshape(grid[0], -1, strip.shape[-1])  # [B, N, D + 4]
    size = pooled[..., -1]
    mask = size > 1e-6
    mean = pooled[..., :-1] / jnp.where(mask, size, 1)[..., None]
    mean = jnp.where(mask[..., None], mean, 0)
    tokens = Tokens(
      features=mean[..., :-3].astype(features.dtype),
      mask=mask,
      positions=mean[..., -3:],
      size=jnp.where(mask, size, 0),
    )
    owner = jnp.where(real, region_of(row_edges, edges, grid[2:]), -1)
    aux = dict(score=score, row_edges=row_edges, edges=edges, assignment=owner)
    return tokens, aux

  def _score(self, x: jax.Array, real: jax.Array) -> jax.Array:
    """[B, t, h, w, D] -> [B, t, h, w] in [FLOOR, 1 + FLOOR], 0 in padding."""
    score = self.score(jax.nn.gelu(self.hidden(x)))[..., 0]
    axes = (2, 3) if self.scope == "frame" else (1, 2, 3)
    count = jnp.maximum(real.sum(axes, keepdims=True), 1)
    score = jnp.where(real, score, 0)
    score = jnp.where(real, score - score.sum(axes, keepdims=True) / count, 0)
    variance = jnp.square(score).sum(axes, keepdims=True) / count
    score = jax.nn.sigmoid(score * jax.lax.rsqrt(variance + 1e-6)) + FLOOR
    return jnp.where(real, score, 0)


def region_of(
  row_edges: jax.Array, edges: jax.Array, size: tuple[int, int]
) -> jax.Array:
  """Returns [B, t, h, w] int32, the region that a patch's middle lies in.

  Args:
    row_edges: [B, t, R + 1] float32, in rows of patches.
    edges: [B, F, K + 1] float32, along the strip of t / F frames.
    size: (h, w).
  """
  frames, rows = row_edges.shape[1], row_edges.shape[2] - 1
  spans, count = edges.shape[1], edges.shape[2] - 1
  height, width = size
  middle = jnp.arange(height) + 0.5
  row = (row_edges[:, :, None, 1:-1] <= middle[:, None]).sum(-1)  # [B, t, h]
  frame = jnp.arange(frames) % (frames // spans)
  row += rows * frame[:, None]
  along = row[..., None] * width + jnp.arange(width) + 0.5  # [B, t, h, w]
  edges = jnp.repeat(edges, frames // spans, axis=1)[:, :, None, None, 1:-1]
  region = (edges <= along[..., None]).sum(-1)
  first = jnp.arange(frames) // (frames // spans) * count
  return region + first[:, None, None]
