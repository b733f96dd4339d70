"""STViT's semantic tokens: pooled patches that then read all patches."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.resampler import ResamplerLayer
from trajvit.ops.attention import AttentionMask, attention
from trajvit.ops.tokens import zero_masked
from trajvit.ops.windows import reduce_windows
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens

POOLS = ("max", "mean")


class SemanticTokenizer(nnx.Module):
  """Semantic tokens (STViT): windows of patches, pooled, then read all patches.

  Source: Making Vision Transformers Efficient from a Token Sparsification View,
  arXiv:2303.08685, in its form for a plain ViT. A coarse grid of tokens starts
  as the adaptively pooled patches; each layer reads [tokens; patches], and from
  the second on learned centres, the same for all clips, are added to what
  reads. `Recovery` is the way back to the patches (STViT-R).

  We differ: the paper first runs a few blocks of the ViT on the patches, here
  tokens come before the encoder; windows span frames as well, which is our
  reading for video; the residual is always there, with no layer scale of 1e-5
  on what is read (the released code, which is for windowed attention, leaves
  the residual out by default, so that tokens start at almost nothing).

  Args:
    patch: (frames, rows, columns) of a patch; each divides the clip.
    windows: (t, h, w), the grid of semantic tokens: N = t h w. The paper has 16
      tokens an image, (1, 4, 4). It need not divide the grid of patches.
    pool: "max", as the released code, or "mean".
    depth: number of layers, at least 2.
    mlp_ratio: hidden width of a layer's perceptron, in widths.
    width: D.
    num_heads: K, the encoder's.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  needs_tracks = False

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    windows: tuple[int, int, int] = (2, 4, 4),
    pool: str = "max",
    depth: int = 2,
    mlp_ratio: int = 4,
    width: int,
    num_heads: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if pool not in POOLS:
      raise ValueError(f"pool must be one of {', '.join(POOLS)}, got {pool!r}")
    if depth < 2:
      raise ValueError(
        f"depth must be at least 2, the layer without centres and one with "
        f"them, got {depth}"
      )
    self.windows, self.pool = tuple(windows), pool
    options = dict(dtype=dtype, rngs=rngs)
    self.patches = TubeletTokenizer(
      patch=patch, width=width, clip_shape=clip_shape, **options
    )
    options |= dict(mlp_ratio=mlp_ratio, init="lecun")
    self.layers = nnx.List(
      [ResamplerLayer(width, num_heads, **options) for _ in range(depth)]
    )
    count = self.windows[0] * self.windows[1] * self.windows[2]
    init = nnx.initializers.truncated_normal(0.02)
    self.centers = nnx.Param(init(rngs.params(), (count, width)))

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = t h w tokens in raster order of their windows.

    Args:
      clip: `frames` [B, T, H, W, 3] float.
      key: unused.

    Returns:
      Tokens; one without a real patch in its window is masked. `positions` is
      the mean position of the window's real patches and `size` their number;
      where the windows do not divide the patches they overlap, and sizes add
      up to more. Aux: `patches`, the Tokens that were read, for `Recovery`.

    Raises:
      ValueError: the clip is not of the shape this was built for, or has fewer
        patches than windows along an axis.
    """
    del key
    patches, _ = self.patches(clip)
    grid = (patches.mask.shape[0], *self.patches.grid)
    real = patches.mask.reshape(*grid, 1)
    where = patches.positions.reshape(*grid, 3)
    count = self._reduce(real.astype(jnp.float32), jnp.sum)  # [B, N, 1]
    positions = self._reduce(where, jnp.sum) / jnp.maximum(count, 1)
    mask = count[..., 0] > 0

    x = patches.features.reshape(*grid, -1)
    if self.pool == "max":
      tokens = self._reduce(jnp.where(real, x, -jnp.inf), jnp.max)
      tokens = jnp.where(mask[..., None], tokens, 0)
    else:
      total = self._reduce(x.astype(jnp.float32), jnp.sum)
      tokens = (total / jnp.maximum(count, 1)).astype(x.dtype)
    keys = jnp.concatenate([mask, patches.mask], axis=1)
    for number, layer in enumerate(self.layers):
      if number:
        tokens += self.centers[...].astype(tokens.dtype)
      tokens = layer(tokens, patches.features, keys, False)
    tokens = Tokens(
      features=tokens, mask=mask, positions=positions, size=count[..., 0]
    )
    return zero_masked(tokens), {"patches": patches}

  def _reduce(self, x: jax.Array, reduce) -> jax.Array:
    """[B, *grid, C] -> [B, N, C], over every window."""
    x = reduce_windows(x, self.windows, reduce)
    return x.reshape(x.shape[0], -1, x.shape[-1])


class Recovery(nnx.Module):
  """Gives patches back what the semantic tokens know, by cross-attention.

  Source: the recovery of STViT-R, arXiv:2303.08685; without its layer scale.

  Args:
    width: D of patches and tokens.
    num_heads: K.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, *, num_heads: int, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    self.num_heads = num_heads
    self.norm_patches = LayerNorm(width, dtype=dtype)
    self.norm_tokens = LayerNorm(width, dtype=dtype)
    options = dict(dtype=dtype, rngs=rngs)
    self.query = Linear(width, width, **options)
    self.key = Linear(width, width, **options)
    self.value = Linear(width, width, **options)
    self.out = Linear(width, width, **options)

  def __call__(self, patches: Tokens, tokens: Tokens) -> Tokens:
    """Returns `patches` with new features.

    Args:
      patches: [B, P, D], `aux["patches"]` of the tokenizer.
      tokens: [B, N, D], the semantic tokens, as the encoder left them.
    """
    patches, tokens = zero_masked(patches), zero_masked(tokens)
    queries = self.norm_patches(patches.features)
    memory = self.norm_tokens(tokens.features)
    query, key, value = (
      linear(x).reshape(*x.shape[:-1], self.num_heads, -1)  # [B, ., K, d]
      for linear, x in (
        (self.query, queries),
        (self.key, memory),
        (self.value, memory),
      )
    )
    read = attention(query, key, value, mask=AttentionMask(keys=tokens.mask))
    features = patches.features + self.out(read.reshape(queries.shape))
    return zero_masked(dataclasses.replace(patches, features=features))
