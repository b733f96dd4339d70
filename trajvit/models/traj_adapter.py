"""TrajAdapter: trajectory tokens as a probing head over frozen features.

An adapter makes tokens of a grid of features, `adapter(features, mask, clip)
-> (Tokens, aux)`. `ADAPTERS` is what a config can name.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.perceiver import Perceiver
from trajvit.models.regions import Regions, build_regions
from trajvit.table import Table
from trajvit.tokenizers.trajtok.pooling import slot_tokens
from trajvit.types import Clip, Tokens


class PatchAdapter(nnx.Module):
  """Patches: every cell of the features is a token. The baseline.

  Args:
    width: D.
  """

  needs_tracks = False

  def __init__(self, *, width: int):
    self.width = width

  def __call__(
    self, features: jax.Array, mask: jax.Array, clip: Clip
  ) -> tuple[Tokens, dict]:
    """Returns N = t h w tokens in raster order; see `TrajAdapter`."""
    del clip
    batch, *grid, width = features.shape
    axes = [(jnp.arange(n) + 0.5) / n for n in grid]
    centers = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    mask = mask.reshape(batch, -1)  # [B, N]
    real = mask[..., None]
    tokens = Tokens(
      features=jnp.where(real, features.reshape(batch, -1, width), 0),
      mask=mask,
      positions=jnp.where(real, centers, 0),
      size=mask.astype(jnp.float32),
    )
    return tokens, {}


class TrajAdapter(nnx.Module):
  """One token for every trajectory, read from the cells that it owns.

  Source: the adapter of TrajTok (CVPR 2026), its tokenizer on the features of
  another encoder. A learned latent, the same for all slots, reads the cells of
  a slot through a perceiver with 3-D rotary phases, so that what tells two
  tokens apart is what their trajectories own, and renumbering the slots
  renumbers the tokens.

  Args:
    regions: clip -> owner of every cell.
    width: D of the features and of the tokens.
    num_heads: K of the perceiver.
    depth: layers of the perceiver.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    regions: Regions,
    *,
    width: int,
    num_heads: int = 8,
    depth: int = 2,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.regions, self.width = regions, width
    init = nnx.initializers.normal(0.02)
    self.latents = nnx.Param(init(rngs.params(), (1, width)))
    options = dict(num_heads=num_heads, depth=depth, dtype=dtype, rngs=rngs)
    self.perceiver = Perceiver(width, **options)

  @property
  def needs_tracks(self) -> bool:
    """Whether clips must come with tracks."""
    return self.regions.needs_tracks

  def __call__(
    self, features: jax.Array, mask: jax.Array, clip: Clip
  ) -> tuple[Tokens, dict]:
    """Returns N = M tokens, those of trajectories without a cell masked.

    Args:
      features: [B, t, h, w, D].
      mask: [B, t, h, w] bool, False = padding, never read.
      clip: `frames` uint8 [B, T, H, W, 3], of which t divides T.

    Returns:
      Tokens, and aux: `assignment` [B, t, h, w] int32, the owner of each cell
      in [0, M), or -1 in padding and where no trajectory is.
    """
    owner, _ = self.regions(clip, features.shape[1:4])
    owner = jnp.where(mask, owner, -1)
    count = self.regions.num_slots
    shape = (features.shape[0], count, self.width)
    latents = jnp.broadcast_to(self.latents[...].astype(features.dtype), shape)
    x = self.perceiver(
      latents, features, mask=mask, slots=jnp.arange(count), owner=owner
    )
    return slot_tokens(x, owner, count), {"assignment": owner}


def traj_adapter(
  *,
  segmenter: dict | None = None,
  normalization: str = "symmetric",
  size: int | None = None,
  num_heads: int = 8,
  depth: int = 2,
  width: int,
  max_tracks: int,
  dtype=jnp.float32,
  rngs: nnx.Rngs,
) -> TrajAdapter:
  """Trajectory tokens over any features (TrajAdapter).

  Args:
    segmenter: arguments of `build_segmenter`; None takes the clip's tracks.
    normalization: of the frames that the segmenter reads.
    size: rows = columns that they are shrunk to; None leaves them.
    num_heads: K of the perceiver.
    depth: layers of the perceiver.
    width: D of the features.
    max_tracks: M of given tracks.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """
  shared = dict(dtype=dtype, rngs=rngs)
  regions = build_regions(
    segmenter,
    max_tracks=max_tracks,
    normalization=normalization,
    size=size,
    **shared,
  )
  return TrajAdapter(
    regions, width=width, num_heads=num_heads, depth=depth, **shared
  )


ADAPTERS = Table(
  "adapter", {"patches": PatchAdapter, "trajectories": traj_adapter}
)
