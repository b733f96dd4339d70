"""A teacher whose features a decoder's hidden ones are to point along."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.models.feature_net import FeatureNet
from trajvit.models.normalization import known_normalization
from trajvit.ops.grid_resize import resize_grid
from trajvit.ops.masked import only_real


class Alignment(nnx.Module):
  """Projects hidden features of patches, and shows the frames to a teacher.

  The teacher is to come from a run that trained it (`warm_start`), and to keep
  its weights (`optimizer.frozen`): no gradient reaches it, but weight decay
  would. Source: REPA, arXiv:2410.06940, of whose projection these are the three
  linear maps with SiLU between them. It aligns patch with patch; grids that
  differ are brought to the teacher's, after the projection.

  Args:
    teacher: sees the true frames, normalised anew, as it wants them.
    width: of the hidden features.
    grid: (t, h, w) of the patches that have them.
    hidden: width inside the projection.
    stage: of the teacher's maps, a place in its `widths`.
    normalization: of the frames that it is shown, a name in NORMALIZATIONS.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: a stage that the teacher has not.
  """

  def __init__(
    self,
    teacher: FeatureNet,
    *,
    width: int,
    grid: tuple[int, int, int],
    hidden: int,
    stage: int = -1,
    normalization: str,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    count = len(teacher.widths)
    if not -count <= stage < count:
      raise ValueError(f"stage must be in [{-count}, {count}), got {stage}")
    self.teacher, self.grid, self.stage = teacher, tuple(grid), stage
    self.normalization = known_normalization(normalization)
    options = dict(dtype=dtype, rngs=rngs)
    self.inner = Linear(width, hidden, **options)
    self.middle = Linear(hidden, hidden, **options)
    self.outer = Linear(hidden, teacher.widths[stage], **options)

  def __call__(
    self,
    hidden: jax.Array,
    patch_mask: jax.Array,
    frames: jax.Array,
    frame_mask: jax.Array | None = None,
  ) -> dict:
    """Returns what `objectives.alignment` compares, N cells of the teacher.

    Args:
      hidden: [B, P, width], features of the patches of `grid`, in raster order.
      patch_mask: [B, P] bool, False = one that is not read.
      frames: [B, T, H, W, 3] float, as they are.
      frame_mask: [B, T] bool, True = real frame; None: all are. Others are not
        read.

    Returns:
      `projected` [B, N, C] float32; `target` [B, N, C], a constant; `mask`
      [B, N] bool, True = in a real frame, and real patches have at least half
      the weight in what was projected.
    """
    maps, _ = self.teacher.features(
      frames, frame_mask, normalization=self.normalization
    )
    target = jax.lax.stop_gradient(maps[self.stage])  # [B, T, h, w, C]
    batch, *grid, channels = target.shape
    x = jax.nn.silu(self.inner(only_real(hidden, patch_mask)))
    x = self.outer(jax.nn.silu(self.middle(x)))  # [B, P, C]
    x = x.reshape(batch, *self.grid, channels)
    patch_mask = patch_mask.reshape(batch, *self.grid)
    x, mask = resize_grid(x, grid, patch_mask)
    if frame_mask is not None:
      mask &= frame_mask[:, :, None, None]
    return {
      "projected": x.reshape(batch, -1, channels),
      "target": target.reshape(batch, -1, channels),
      "mask": mask.reshape(batch, -1),
    }
