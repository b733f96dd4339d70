"""Coordinate decoder: three planes, from which any patch can be made."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.conditioning import Conditioning
from trajvit.layers.cross_attention import CrossAttention
from trajvit.layers.decoder import Decoder, clip_keys
from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.planes import bilinear
from trajvit.ops.selection import highest
from trajvit.ops.token_size import log_size
from trajvit.types import Tokens

# The axes (t, y, x) of a clip that span each plane.
PLANES = ((1, 2), (0, 1), (0, 2))


class CoordinateDecoder(Decoder):
  """Learned planes (y, x), (t, y), (t, x) read tokens; patches read the planes.

  Source: CoordTok, arXiv:2411.14762, known to us by its abstract: in training
  only some patches of a clip are decoded, so that the cost does not grow with
  its length. A patch is made from the features of the planes at its centre.

  Args:
    width: of the tokens.
    clip_shape: (T, H, W).
    patch: (frames, rows, columns) of a patch.
    inner_width: D; None is `width`.
    planes: (t, y, x) cells along each axis of the planes; None is the grid.
    fraction: share of the patches that is decoded in training, in (0, 1].
    read_depth: layers in which planes read the tokens.
    depth: blocks over patches.
    num_heads: K.
    mlp_ratio: hidden width of the perceptrons, in widths.
    attend: whether patches decoded together attend to each other, as in
      CoordTok. A whole clip is then decoded in sets of as many patches as in
      training, spread over the clip. Without it a patch depends on no other.
    num_tokens: see `layers.conditioning`, and the next two.
    tail: "drop", "mask" or "null".
    proportional: whether tokens count by their size.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; the result is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: a fraction out of range.
  """

  def __init__(
    self,
    *,
    width: int,
    clip_shape: tuple[int, int, int],
    patch: tuple[int, int, int] = (1, 8, 8),
    inner_width: int | None = None,
    planes: tuple[int, int, int] | None = None,
    fraction: float = 0.25,
    read_depth: int = 2,
    depth: int = 4,
    num_heads: int = 4,
    mlp_ratio: int = 4,
    attend: bool = True,
    num_tokens: int | None = None,
    tail: str = "drop",
    proportional: bool = False,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(clip_shape=clip_shape, patch=patch)
    if not 0 < fraction <= 1:
      raise ValueError(f"fraction must be in (0, 1], got {fraction}")
    self.num_sampled = max(1, round(fraction * self.num_patches))
    self.planes = self.grid if planes is None else tuple(planes)
    inner = width if inner_width is None else inner_width
    options = dict(dtype=dtype, rngs=rngs)
    self.conditioning = Conditioning(
      width,
      inner,
      num_tokens=num_tokens,
      tail=tail,
      proportional=proportional,
      **options,
    )
    init = nnx.initializers.truncated_normal(0.02)
    cells = sum(rows * columns for rows, columns in self._shapes())
    self.queries = nnx.Param(init(rngs.params(), (cells, inner)))
    sizes = inner, num_heads, mlp_ratio * inner

    def reading(rngs):
      return ReadingLayer(*sizes, dtype=dtype, rngs=rngs)

    def block(rngs):
      make = Block if attend else Perceptron
      return make(*sizes, dtype=dtype, rngs=rngs)

    self.reading = Stack(reading, read_depth, remat=remat, rngs=rngs)
    self.join = Linear(len(PLANES) * inner, inner, **options)
    self.blocks = Stack(block, depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(inner, dtype=dtype)
    self.out = Linear(inner, self.num_pixels, **options)

  def __call__(
    self,
    tokens: Tokens,
    *,
    frames: jax.Array | None = None,
    frame_mask: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array | None, dict]:
    """Returns frames and aux; see `layers.decoder`.

    With `frames` and a `key` only a `fraction` of the patches is decoded, drawn
    for each clip; frames are then None, and aux also has `indices` [B, S]
    int32, rising. Otherwise all are.
    """
    batch = tokens.mask.shape[0]
    planes = self.read(self.conditioning(tokens))
    mask = self.patch_mask(frame_mask, batch)
    if frames is None or key is None:
      made = self.to_frames(self.decode_all(planes, mask), frame_mask)
      if frames is None:
        return made, {}
      predicted = self.to_patches(made)
      target = self.to_patches(frames, frame_mask)
      return made, {"predicted": predicted, "target": target, "mask": mask}
    scores = jax.vmap(self._scores)(clip_keys(key, batch))
    everything = jnp.ones_like(mask)
    indices = highest(scores, self.num_sampled, mask=everything)  # [B, S]
    mask = jnp.take_along_axis(mask, indices, axis=1)
    target = self.to_patches(frames, frame_mask)
    target = jnp.take_along_axis(target, indices[..., None], axis=1)
    predicted = self.decode(planes, indices, mask)
    aux = {"predicted": predicted, "target": target, "mask": mask}
    return None, aux | {"indices": indices}

  def read(self, tokens: Tokens) -> list[jax.Array]:
    """Returns the planes, [B, a, b, D] each, after reading tokens [B, N, D]."""
    x = tokens.features
    queries = self.queries[...].astype(x.dtype)
    queries = jnp.broadcast_to(queries, (x.shape[0], *queries.shape))
    queries, _ = self.reading(queries, x, tokens.mask, log_size(tokens))
    shapes = self._shapes()
    ends = np.cumsum([rows * columns for rows, columns in shapes])[:-1]
    parts = jnp.split(queries, ends, axis=1)
    return [
      part.reshape(part.shape[0], *shape, part.shape[-1])
      for part, shape in zip(parts, shapes, strict=True)
    ]

  def decode(
    self, planes: list[jax.Array], indices: jax.Array, mask: jax.Array
  ) -> jax.Array:
    """Returns patches [B, S, p] float32 that are decoded together.

    Args:
      planes: from `read`.
      indices: [B, S] int32 in [0, P), patches in raster order.
      mask: [B, S] bool, False = one that no other reads.
    """
    return self._patches(self._look_up(planes, indices), mask)

  def decode_all(self, planes: list[jax.Array], mask: jax.Array) -> jax.Array:
    """Returns all patches [B, P, p] float32, decoded in sets.

    Set j of n has the patches j, j + n, j + 2 n, ..., at most as many as are
    drawn in training.

    Args:
      planes: from `read`.
      mask: [B, P] bool, False = a patch that no other reads.
    """
    batch, count = mask.shape
    sets = -(-count // self.num_sampled)
    length = -(-count // sets)
    indices = np.arange(length * sets).reshape(length, sets).T.reshape(-1)
    real = indices < count
    indices = np.where(real, indices, 0)
    indices = jnp.broadcast_to(
      jnp.asarray(indices, jnp.int32), (batch, length * sets)
    )
    x = self._look_up(planes, indices)
    x = x.reshape(batch * sets, length, -1)
    mask = jnp.take_along_axis(mask, indices, axis=1) & real
    patches = self._patches(x, mask.reshape(batch * sets, length))
    patches = patches.reshape(batch, sets, length, -1).swapaxes(1, 2)
    return patches.reshape(batch, sets * length, -1)[:, :count]

  def _look_up(self, planes, indices):
    """What the planes have at the centres of patches, [B, S, D]."""
    places = jnp.stack(jnp.unravel_index(indices, self.grid), axis=-1)
    centers = (places + 0.5) / np.array(self.grid, np.float32)  # [B, S, 3]
    read = [
      bilinear(plane, centers[..., list(axes)])
      for plane, axes in zip(planes, PLANES, strict=True)
    ]
    return self.join(jnp.concatenate(read, axis=-1))

  def _patches(self, x, mask):
    x, _ = self.blocks(x, Context(mask=AttentionMask(keys=mask)))
    patches = self.out(self.norm(x)).astype(jnp.float32)
    return jnp.where(mask[..., None], patches, 0)

  def _scores(self, key):
    return jax.random.uniform(key, (self.num_patches,))

  def _shapes(self):
    """(rows, columns) of each plane."""
    return [tuple(self.planes[axis] for axis in axes) for axes in PLANES]


class ReadingLayer(nnx.Module):
  """Queries read tokens, and go through a perceptron."""

  def __init__(self, width, num_heads, mlp_dim, *, dtype, rngs):
    self.cross = CrossAttention(width, num_heads, dtype=dtype, rngs=rngs)
    self.perceptron = Perceptron(
      width, num_heads, mlp_dim, dtype=dtype, rngs=rngs
    )

  def __call__(self, queries, x, mask, bias):
    """Maps queries [B, R, D] to the same; aux is {}."""
    queries = queries + self.cross(queries, x, mask, bias)
    return self.perceptron(queries)


class Perceptron(nnx.Module):
  """A block without attention."""

  def __init__(self, width, num_heads, mlp_dim, *, dtype, rngs):
    del num_heads
    self.norm = LayerNorm(width, dtype=dtype)
    self.mlp = Mlp(width, mlp_dim, dtype=dtype, rngs=rngs)

  def __call__(self, x, context=None):
    """Maps [..., D] to the same, by itself; aux is {}."""
    del context
    return x + self.mlp(self.norm(x)), {}
