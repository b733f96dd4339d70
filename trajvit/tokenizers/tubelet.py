"""Space-time patches: the tokens of ViT3D, ViViT and VideoMAE."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.patches import patchify
from trajvit.ops.sincos import sincos_plane
from trajvit.ops.token_grid import grid_positions
from trajvit.ops.tokens import zero_masked_frames
from trajvit.types import Clip, Tokens

POSITIONS = ("factorized", "spatial", "table", "plane")


class TubeletTokenizer(nnx.Module):
  """Space-time patches (ViT3D): one token for every tubelet of pixels.

  Source: ViViT's tubelet embedding, arXiv:2103.15691, as the baseline of
  TrajViT, arXiv:2505.23617. Its code adds the position of patch i - 1 to patch
  i; here every patch gets its own.

  Args:
    patch: (frames, rows, columns) of a tubelet; each divides the clip.
    position: "factorized" adds a learned vector of the frame, of the row and of
      the column; "spatial" leaves out that of the frame; "table" has one for
      every tubelet. "plane" has nothing learned: the table of `ops.sincos` for
      row and column.
    init_std: of these vectors before training. A patch itself is about 0.4;
      what is much smaller leaves attention nearly blind to places at first.
    channels: C of the frames, 3 or those of latents.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    position: str = "factorized",
    init_std: float = 0.02,
    channels: int = 3,
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if position not in POSITIONS:
      raise ValueError(
        f"position must be one of {', '.join(POSITIONS)}, got {position!r}"
      )
    self.patch, self.dtype = tuple(patch), dtype
    self.plane = position == "plane"
    pairs = zip(clip_shape, self.patch, strict=True)
    self.grid = grid = tuple(size // step for size, step in pairs)
    pixels = channels * self.patch[0] * self.patch[1] * self.patch[2]
    self.embed = Linear(pixels, width, dtype=dtype, rngs=rngs)
    shapes = [grid]
    if position != "table":
      shapes = [(grid[0], 1, 1), (1, grid[1], 1), (1, 1, grid[2])]
      shapes = shapes[1:] if position == "spatial" else shapes
      shapes = [] if self.plane else shapes
    init = nnx.initializers.truncated_normal(init_std)
    self.positions = nnx.List(
      [nnx.Param(init(rngs.params(), (*shape, width))) for shape in shapes]
    )

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = t h w tokens in raster order (t, row, column).

    Args:
      clip: `frames` [B, T, H, W, C] float.
      key: unused.

    Returns:
      Tokens; a tubelet without a real frame is masked. Aux is empty.

    Raises:
      ValueError: the clip is not of the shape this was built for.
    """
    del key
    clip = zero_masked_frames(clip)
    x = patchify(clip.frames, self.patch)  # [B, t, h, w, p]
    batch, *grid, _ = x.shape
    if tuple(grid) != self.grid:
      raise ValueError(
        f"clip must have {self.grid} tubelets (t, h, w), got {tuple(grid)}"
      )
    x = self.embed(x)
    if self.plane:
      x += sincos_plane(self.grid, x.shape[-1]).astype(self.dtype)
    for table in self.positions:
      x += table[...].astype(self.dtype)
    count = grid[0] * grid[1] * grid[2]
    mask = jnp.ones((batch, count), bool)
    if clip.frame_mask is not None:
      real = clip.frame_mask.reshape(batch, grid[0], -1).any(-1)
      mask = jnp.repeat(real, grid[1] * grid[2], axis=1)
    features = x.reshape(batch, count, -1)
    tokens = Tokens(
      features=jnp.where(mask[..., None], features, 0),
      mask=mask,
      positions=self._centers(batch) * mask[..., None],
      size=mask.astype(jnp.float32),
    )
    return tokens, {}

  def _centers(self, batch: int) -> jax.Array:
    """[B, N, 3], the middle of every tubelet."""
    centers = grid_positions(self.grid)
    return jnp.broadcast_to(centers, (batch, *centers.shape))
