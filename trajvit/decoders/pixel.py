"""Pixel decoder: patch queries read tokens, and become pixels."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.decoders.vqgan import CodePixels
from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.conditioning import Conditioning
from trajvit.layers.conv import Conv
from trajvit.layers.decoder import (
  Decoder,
  check_align_block,
  without_masked_frames,
)
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stack import Stack
from trajvit.ops.attention import AttentionMask
from trajvit.ops.sincos import sincos_grid
from trajvit.ops.token_size import log_size
from trajvit.table import check_arguments
from trajvit.types import Tokens

QUERIES = ("learned", "sincos")


class PixelDecoder(Decoder):
  """ViT over patch queries and tokens, and a linear map to pixels.

  Source: TiTok, arXiv:2406.07550: queries and tokens form one sequence, normed
  before and after the blocks. Its class token, from which nothing is made, and
  its way to pixels through the codes of another model are options: its weights
  need them.

  Args:
    width: of the tokens.
    clip_shape: (T, H, W).
    patch: (frames, rows, columns) of a patch.
    inner_width: D; None is `width`.
    depth: number of blocks.
    num_heads: K.
    mlp_ratio: hidden width of the perceptrons, in widths.
    queries: "learned", a vector for each patch; "sincos", one vector and the
      fixed table of `ops.sincos`.
    smooth: end in a 3 x 3 convolution over each frame, across patches.
    class_token: whether a learned vector is in front of the queries.
    codes: options of `decoders.vqgan.CodePixels`, which makes the pixels of
      each frame in place of the linear map; None is that map.
    epsilon: of the layer norms.
    num_tokens: see `layers.conditioning`, and the next two.
    tail: "drop", "mask" or "null".
    proportional: whether tokens count by their size.
    init_std: of queries and positions before training: beside codes, which are
      about 1, small ones leave attention nearly blind to places at first.
    align_block: a block, from 0, whose patches are returned as `hidden` for an
      objective that aligns them, see `models.alignment`.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; the result is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: no such queries or block, or codes whose cells are no patches.
  """

  def __init__(
    self,
    *,
    width: int,
    clip_shape: tuple[int, int, int],
    patch: tuple[int, int, int] = (2, 8, 8),
    inner_width: int | None = None,
    depth: int = 4,
    num_heads: int = 4,
    mlp_ratio: int = 4,
    queries: str = "learned",
    smooth: bool = False,
    class_token: bool = False,
    codes: dict | None = None,
    epsilon: float = 1e-6,
    num_tokens: int | None = None,
    tail: str = "drop",
    proportional: bool = False,
    init_std: float = 0.02,
    align_block: int | None = None,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(clip_shape=clip_shape, patch=patch)
    if queries not in QUERIES:
      raise ValueError(
        f"queries must be one of {', '.join(QUERIES)}, got {queries!r}"
      )
    self.align_block = check_align_block(align_block, depth)
    inner = width if inner_width is None else inner_width
    self.inner_width = inner
    options = dict(dtype=dtype, rngs=rngs)
    self.conditioning = Conditioning(
      width,
      inner,
      num_tokens=num_tokens,
      tail=tail,
      proportional=proportional,
      init_std=init_std,
      **options,
    )
    self.table = queries == "sincos"
    count = 1 if self.table else self.num_patches
    init = nnx.initializers.truncated_normal(init_std)
    self.queries = nnx.Param(init(rngs.params(), (count, inner)))
    self.class_token = (
      nnx.Param(init(rngs.params(), (1, inner))) if class_token else None
    )
    norms = dict(epsilon=epsilon, dtype=dtype)
    self.norm_in = LayerNorm(inner, **norms)

    def block(rngs):
      return Block(inner, num_heads, mlp_ratio * inner, rngs=rngs, **norms)

    self.blocks = Stack(block, depth, remat=remat, rngs=rngs)
    self.norm = LayerNorm(inner, **norms)
    if codes is None:
      self.codes = None
      self.out = Linear(inner, self.num_pixels, init="trunc_normal", **options)
    else:
      check_arguments("codes of decoder 'pixel'", CodePixels, codes)
      self.codes, self.out = CodePixels(inner, **codes, **options), None
      if self.patch != (1, self.codes.scale, self.codes.scale):
        raise ValueError(
          f"codes make patches of (1, {self.codes.scale}, {self.codes.scale}), "
          f"got patch {self.patch}"
        )
    self.smooth = Conv(3, 3, 3, bias=True, **options) if smooth else None

  def __call__(
    self,
    tokens: Tokens,
    *,
    frames: jax.Array | None = None,
    frame_mask: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, dict]:
    """Returns whole frames, and aux; see `layers.decoder`. `key` is unused."""
    del key
    batch = tokens.mask.shape[0]
    mask = self.patch_mask(frame_mask, batch)
    align_block = None if frames is None else self.align_block
    queries, hidden = self.read(self.conditioning(tokens), mask, align_block)
    made = self._frames(queries, frame_mask)
    if frames is None:
      return made, {}
    predicted = self.to_patches(made)
    target = self.to_patches(frames, frame_mask)
    aux = {"predicted": predicted, "target": target, "mask": mask}
    return made, aux if hidden is None else aux | {"hidden": hidden}

  def read(
    self, tokens: Tokens, mask: jax.Array, hidden: int | None = None
  ) -> tuple[jax.Array, jax.Array | None]:
    """Returns the patch queries [B, P, D] after the blocks, and after one.

    Args:
      tokens: [B, N, D], of this decoder's width.
      mask: [B, P] bool, False = a patch that no other reads.
      hidden: that block, from 0; None returns None.
    """
    queries = self.queries[...]
    if self.table:
      queries = queries + sincos_grid(self.grid, queries.shape[-1]).reshape(
        self.num_patches, -1
      )
    x = tokens.features
    front = 0
    if self.class_token is not None:
      front = 1
      queries = jnp.concatenate([self.class_token[...], queries])
    shape = (x.shape[0], *queries.shape)
    x = jnp.concatenate(
      [jnp.broadcast_to(queries.astype(x.dtype), shape), x], axis=1
    )
    bias = jnp.pad(log_size(tokens), ((0, 0), (len(queries), 0)))
    seen = jnp.ones_like(mask[:, :front])
    keys = jnp.concatenate([seen, mask, tokens.mask], axis=1)
    own = slice(front, front + self.num_patches)
    context = Context(mask=AttentionMask(keys=keys), bias=bias)
    x, _, kept = self.blocks.with_output_of(hidden, self.norm_in(x), context)
    queries = self.norm(x[:, own])
    return queries, None if kept is None else kept[:, own]

  def _frames(self, queries, frame_mask):
    """Whole frames [B, T, H, W, 3] float32 of queries [B, P, D]."""
    shape = (queries.shape[0], *self.clip_shape, 3)
    if self.codes is not None:
      made = self.codes(queries.reshape(-1, *self.grid[1:], self.inner_width))
    else:
      made = self.to_frames(self.out(queries), frame_mask)
    if self.smooth is not None:
      made = self.smooth(made.reshape(-1, *shape[2:]))
    made = made.reshape(shape).astype(jnp.float32)
    return without_masked_frames(made, frame_mask)
