"""VideoPrism's video encoder as a vision tower, see `encoders.vision`."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.encoders.vision import check_name, check_size, cut_windows
from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.patches import patchify
from trajvit.layers.scaled_pool import ScaledPool
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack

POOLS = ("mean", "attention")


class VideoPrism(nnx.Module):
  """A ViT over the patches of a frame, then one over the frames of a patch.

  Source: VideoPrism, arXiv:2402.13217; ViViT's model 2, arXiv:2103.15691,
  without class tokens: all patches go on, each through time at its own place.
  Logits of the attention are capped. Learned positions are for `grid`; on
  another they are resized linearly, with antialiasing where it is coarser.

  The pooled feature is the mean of the patches', or, as in the video-text
  model, what a query reads of them behind `auxiliary_depth` more blocks over
  all patches of all frames together. The patches' features are those in front
  of these blocks.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: blocks over patches.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    temporal_depth: blocks over frames.
    auxiliary_depth: blocks in front of the query; 0 without one.
    pool: "mean", or "attention", see `layers.scaled_pool`.
    pool_dim: width of all heads of the query; None is 4 D.
    patch: rows = columns of a patch.
    grid: (T, h, w) that the positions are for.
    logit_cap: see `attention_methods.capped`.
    epsilon: of the layer norms.
    remat: what of a block is computed twice, see `layers.remat`.
    frames: how many are seen at a time; None is T.
    size: rows = columns of a frame.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown pool, auxiliary blocks that nothing reads, or
      patches that do not divide a frame.
  """

  def __init__(
    self,
    *,
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    temporal_depth: int = 4,
    auxiliary_depth: int = 0,
    pool: str = "mean",
    pool_dim: int | None = None,
    patch: int = 18,
    grid: tuple[int, int, int] = (16, 16, 16),
    logit_cap: float = 50.0,
    epsilon: float = 1e-6,
    remat: str | bool = "none",
    frames: int | None = None,
    size: int = 288,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    check_name("pool", pool, POOLS)
    if auxiliary_depth and pool == "mean":
      raise ValueError(
        f"auxiliary_depth {auxiliary_depth} needs pool 'attention', got 'mean'"
      )
    if size % patch:
      raise ValueError(f"patch {patch} must divide the size {size}")
    found = transformer_size(variant, width, depth, num_heads, mlp_dim)
    self.width = self.outputs = width = found.width
    self.patch, self.size, self.dtype = patch, size, dtype
    self.grid = tuple(grid)
    self.frames = self.grid[0] if frames is None else frames
    norm = dict(epsilon=epsilon, dtype=dtype)

    def block(rngs):
      return Block(
        width,
        found.num_heads,
        found.mlp_dim,
        attention=dict(name="capped", cap=logit_cap),
        **norm,
        rngs=rngs,
      )

    def stack(depth):
      return Stack(block, depth, remat=remat, rngs=rngs)

    def table(rows):
      init = nnx.initializers.lecun_normal()
      return nnx.Param(init(rngs.params(), (rows, width)))

    self.embed = Linear(3 * patch * patch, width, dtype=dtype, rngs=rngs)
    cells = self.grid[1] * self.grid[2]
    self.positions = nnx.List([table(cells), table(self.grid[0])])
    self.spatial = stack(found.depth)
    self.spatial_norm = LayerNorm(width, **norm)
    self.temporal = stack(temporal_depth)
    self.temporal_norm = LayerNorm(width, **norm)
    self.auxiliary = stack(auxiliary_depth) if auxiliary_depth else None
    inner = 4 * width if pool_dim is None else pool_dim
    self.head = (
      ScaledPool(width, found.num_heads, inner, **norm, rngs=rngs)
      if pool == "attention"
      else None
    )

  def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, T, h, w, D] of patches and [B, T / frames, D].

    Args:
      frames: [B, T, H, W, 3] float, in [0, 1] for the released weights.

    Raises:
      ValueError: frames of another size, or not whole windows.
    """
    windows = cut_windows(frames, self.frames)
    check_size(windows, self.size)
    x = self.embed(patchify(windows, (1, self.patch, self.patch)))
    batch, time, rows, columns, width = x.shape
    patches = rows * columns
    x = x.reshape(batch * time, patches, width) + self._places(rows, columns)
    x = self.spatial_norm(self.spatial(x)[0])
    x = _swapped(x, batch)  # [B n h w, frames, D]
    x = self.temporal_norm(self.temporal(x + self._times(time))[0])
    x = _swapped(x, batch).reshape(batch, time * patches, width)
    pooled = self._pooled(x).reshape(frames.shape[0], -1, width)
    shape = (frames.shape[0], -1, rows, columns, width)
    return x.reshape(shape), pooled

  def _places(self, rows, columns):
    """[h w, D], positions in a frame."""
    table = self.positions[0][...].reshape(*self.grid[1:], self.width)
    table = _resized(table, (rows, columns))
    return table.reshape(-1, self.width).astype(self.dtype)

  def _times(self, count):
    """[count, D], positions in time."""
    table = _resized(self.positions[1][...], (count,))
    return table.astype(self.dtype)

  def _pooled(self, x):
    if self.head is None:
      return x.mean(1)
    if self.auxiliary is not None:
      x, _ = self.auxiliary(x)
    return self.head(x)


def _swapped(x, batch):
  """From [B m, n, D] to [B n, m, D]."""
  _, count, width = x.shape
  x = x.reshape(batch, -1, count, width).swapaxes(1, 2)
  return x.reshape(batch * count, -1, width)


def _resized(table, shape):
  """[*shape, D], a table [*cells, D] for another grid."""
  if table.shape[:-1] == shape:
    return table
  return jax.image.resize(table, (*shape, table.shape[-1]), "linear")
