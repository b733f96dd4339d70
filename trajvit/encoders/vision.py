"""Vision towers in the shapes of released weights: frames -> features.

A tower is called as `features, pooled = tower(frames)` with normalised frames
[B, T, H, W, 3]. It sees `frames` of them at a time, one for an image tower, and
returns [B, t, h, w, D], a feature of every patch, and [B, T / frames, E], one
of every such window. It tells `width`, D, `outputs`, E, and `frames`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.grid_block import GridBlock
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.patches import patchify
from trajvit.layers.pooling_head import PoolingHead
from trajvit.layers.sizes import transformer_size
from trajvit.layers.stack import Stack
from trajvit.ops.sincos import sincos_sequence

POSITIONS = ("table", "sinusoid", "rotary")
POOLS = ("class", "mean", "attention")
NORMS = ("tokens", "pooled", "none")


class VisionTransformer(nnx.Module):
  """A Vision Transformer over patches, as released image and video models are.

  With the options that their weights need it is ViT (arXiv:2010.11929), the
  image tower of CLIP (arXiv:2103.00020) and of SigLIP (arXiv:2303.15343), and
  the encoder of VideoMAE (arXiv:2203.12602) and of V-JEPA 2 (arXiv:2506.09985).
  Frames must have the size that it was built for.

  Args:
    variant: "Ti", "S", "B", "L" or "H"; the next four override its values.
    width: D.
    depth: number of blocks.
    num_heads: K.
    mlp_dim: hidden width of the perceptron.
    patch: (frames, rows, columns) of a patch.
    patch_bias: whether the map of patches has a bias.
    class_token: whether a learned token is in front of the patches.
    position: "table" adds a learned vector for each token, "sinusoid" a fixed
      one for its number; "rotary" is in the attention, see `layers.grid_block`.
    first_norm: whether a layer norm is in front of the blocks.
    activation: of the perceptrons, see `layers.mlp`.
    epsilon: of the layer norms.
    last_norm: "tokens" normalises all behind the blocks, "pooled" the pooled
      feature alone; or "none".
    pool: "class", the class token; "mean" of all tokens; or "attention", see
      `layers.pooling_head`.
    outputs: E of a map without bias of the pooled feature; None is no map.
    remat: what of a block is computed twice, see `layers.remat`.
    frames: how many are seen at a time.
    size: rows = columns of a frame.
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    variant: str = "B",
    width: int | None = None,
    depth: int | None = None,
    num_heads: int | None = None,
    mlp_dim: int | None = None,
    patch: tuple[int, int, int] = (1, 16, 16),
    patch_bias: bool = True,
    class_token: bool = True,
    position: str = "table",
    first_norm: bool = False,
    activation: str = "gelu",
    epsilon: float = 1e-6,
    last_norm: str = "tokens",
    pool: str = "class",
    outputs: int | None = None,
    remat: str | bool = "none",
    frames: int = 1,
    size: int = 224,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    found = transformer_size(variant, width, depth, num_heads, mlp_dim)
    width = found.width
    check_name("position", position, POSITIONS)
    check_name("last_norm", last_norm, NORMS)
    check_name("pool", pool, POOLS)
    if pool == "class" and not class_token:
      raise ValueError("pool 'class' needs a class_token, got none")
    if class_token and position != "table":
      raise ValueError(
        f"a class_token needs position 'table', got {position!r}"
      )
    self.patch, self.frames, self.size = tuple(patch), frames, size
    clip = (frames, size, size)
    if any(n % step for n, step in zip(clip, self.patch, strict=True)):
      raise ValueError(f"patch {self.patch} must divide (T, H, W) = {clip}")
    self.grid = tuple(n // step for n, step in zip(clip, patch, strict=True))
    self.width, self.dtype = width, dtype
    self.outputs = width if outputs is None else outputs
    self.pool, self.last_norm = pool, last_norm
    options = dict(dtype=dtype, rngs=rngs)
    pixels = 3 * patch[0] * patch[1] * patch[2]
    self.embed = Linear(pixels, width, bias=patch_bias, **options)

    def table(*shape):
      init = nnx.initializers.truncated_normal(0.02)
      return nnx.Param(init(rngs.params(), (*shape, width)))

    count = self.grid[0] * self.grid[1] * self.grid[2]
    self.class_token = table() if class_token else None
    self.position = table(count + class_token) if position == "table" else None
    self.sinusoid = position == "sinusoid"
    norm = dict(epsilon=epsilon, dtype=dtype)
    shape = dict(activation=activation, epsilon=epsilon)
    sizes = width, found.num_heads, found.mlp_dim

    def block(rngs):
      if position == "rotary":
        return GridBlock(
          *sizes, grid=self.grid, **shape, dtype=dtype, rngs=rngs
        )
      return Block(*sizes, **shape, dtype=dtype, rngs=rngs)

    self.norm_first = LayerNorm(width, **norm) if first_norm else None
    self.blocks = Stack(block, found.depth, remat=remat, rngs=rngs)
    self.norm = None if last_norm == "none" else LayerNorm(width, **norm)
    self.head = (
      PoolingHead(*sizes, **shape, **options) if pool == "attention" else None
    )
    self.project = (
      None if outputs is None else Linear(width, outputs, bias=False, **options)
    )

  def __call__(self, frames: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns features [B, t, h, w, D] of patches and [B, T / frames, E].

    Args:
      frames: [B, T, H, W, 3] float, normalised as the weights want it.

    Raises:
      ValueError: frames of another size, or not whole windows.
    """
    windows = cut_windows(frames, self.frames)
    check_size(windows, self.size)
    x = self.embed(patchify(windows, self.patch))  # [B n, t, h, w, D]
    x = x.reshape(x.shape[0], -1, self.width)
    if self.class_token is not None:
      first = self.class_token[...].astype(self.dtype)
      first = jnp.broadcast_to(first, (x.shape[0], 1, self.width))
      x = jnp.concatenate([first, x], axis=1)
    if self.position is not None:
      x += self.position[...].astype(self.dtype)
    if self.sinusoid:
      x += sincos_sequence(x.shape[1], self.width).astype(self.dtype)
    if self.norm_first is not None:
      x = self.norm_first(x)
    x, _ = self.blocks(x)
    if self.last_norm == "tokens":
      x = self.norm(x)
    pooled = self._pooled(x).reshape(frames.shape[0], -1, self.outputs)
    patches = x[:, 1:] if self.class_token is not None else x
    steps = pooled.shape[1] * self.grid[0]
    shape = (frames.shape[0], steps, *self.grid[1:], self.width)
    return patches.reshape(shape), pooled

  def _pooled(self, x):
    if self.pool == "attention":
      x = self.head(x)
    else:
      x = x[:, 0] if self.pool == "class" else x.mean(1)
    if self.last_norm == "pooled":
      x = self.norm(x)
    return x if self.project is None else self.project(x)


def cut_windows(frames: jax.Array, count: int) -> jax.Array:
  """Returns [B T / count, count, H, W, 3], the windows of [B, T, H, W, 3].

  Raises:
    ValueError: T is no multiple of `count`.
  """
  if frames.shape[1] % count or not frames.shape[1]:
    raise ValueError(
      f"this tower sees {count} frames at a time, got a clip of "
      f"{frames.shape[1]}"
    )
  return frames.reshape(-1, count, *frames.shape[2:])


def check_size(windows: jax.Array, size: int) -> None:
  """Raises ValueError unless frames [n, t, H, W, 3] have H = W = size."""
  rows, columns = windows.shape[2:4]
  if (rows, columns) != (size, size):
    raise ValueError(f"frames must be {size} x {size}, got {rows} x {columns}")


def check_name(what: str, name: str, known: tuple[str, ...]) -> None:
  """Raises ValueError for a name that is not among the known ones."""
  if name not in known:
    raise ValueError(f"{what} must be one of {', '.join(known)}, got {name!r}")
