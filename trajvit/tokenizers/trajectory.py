"""TrajViT's trajectory tokens: appearance and position of every track."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.resampler import Resampler
from trajvit.layers.resnet import ResNet
from trajvit.ops.pooling import pool_by_track
from trajvit.ops.position import sinusoid
from trajvit.ops.tracks import track_boxes, track_centers
from trajvit.tokenizers.tracked import by_track, track_tokens, tracked_clip
from trajvit.types import Clip, Tokens

COORDINATES = {"center": track_centers, "box": track_boxes}


class TrajectoryTokenizer(nnx.Module):
  """TrajViT: one token a track, from a ResNet and two Perceiver resamplers.

  Source: TrajViT, arXiv:2505.23617. A ResNet's four stages are projected,
  normalised, resized to a quarter of the frame and summed; averaging over a
  track's cells gives an appearance in every frame, its centre a position; one
  resampler each reads them over time, and their sum is the token.

  We differ where the released code does not do what it means to: a track
  without a cell in a frame is absent there; empty tracks give no token; the
  position sinusoid resolves both coordinates (`position_bank="shared"` is the
  released one, for imported weights).

  Args:
    stem: "resnet18" or "resnet50".
    max_tracks: M, slots for tracks.
    coordinates: "center" or "box": where a track is, in every frame.
    position_bank: see `ops.position.sinusoid`.
    appearance_depth: layers of the appearance resampler (the released
      vit-large has 4).
    position_depth: layers of the position resampler.
    width: D.
    num_heads: K of the resamplers, the encoder's.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  needs_tracks = True

  def __init__(
    self,
    *,
    stem: str = "resnet18",
    max_tracks: int,
    coordinates: str = "center",
    position_bank: str = "separate",
    appearance_depth: int = 2,
    position_depth: int = 2,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if coordinates not in COORDINATES:
      raise ValueError(
        f"coordinates must be one of {', '.join(COORDINATES)}, "
        f"got {coordinates!r}"
      )
    self.coordinates, self.position_bank = coordinates, position_bank
    self.max_tracks, self.width, self.dtype = max_tracks, width, dtype
    self.stem = ResNet(stem, dtype=dtype, rngs=rngs)
    options = dict(init="torch", dtype=dtype, rngs=rngs)
    self.project = nnx.List(
      [Linear(inputs, width, **options) for inputs in self.stem.widths]
    )
    self.norm = LayerNorm(width, epsilon=1e-5, dtype=dtype)
    options = dict(num_heads=num_heads, dtype=dtype, rngs=rngs)
    self.appearance = Resampler(width, depth=appearance_depth, **options)
    self.position = Resampler(width, depth=position_depth, **options)

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M tokens, one for every track.

    Args:
      clip: `frames` [B, T, H, W, 3] float, `tracks` [B, T, s H/4, s W/4] int32
        for a whole s >= 1; H and W are multiples of 32.
      key: given in training, when batch statistics are used.

    Returns:
      Tokens; an id not in the clip is a masked slot of zeros. Aux: `area`
      [B, T, M] in cells, and in training `batch_stats`.

    Raises:
      ValueError: `tracks` are missing or on another grid, or the frames cannot
        be halved five times.
    """
    height, width = clip.frames.shape[2:4]
    if height % 32 or width % 32:
      raise ValueError(
        f"frame size must be a multiple of 32, got {height} x {width}"
      )
    grid = (height // 4, width // 4)
    clip = tracked_clip(clip, grid)
    features, stats = self.cells(clip.frames, grid, train=key is not None)
    pooled, area = pool_by_track(features, clip.tracks, self.max_tracks)
    where = COORDINATES[self.coordinates](clip.tracks, self.max_tracks)
    embedding = self.embed(pooled, where, area > 0)
    aux = {"area": area}
    if stats:
      aux["batch_stats"] = {"stem": stats}
    return track_tokens(embedding, area, clip.tracks), aux

  def embed(
    self, pooled: jax.Array, where: jax.Array, present: jax.Array
  ) -> jax.Array:
    """Returns the embeddings of tracks, [B, M, D].

    Args:
      pooled: [B, T, M, D], what a track is in every frame.
      where: [B, T, M, 2] or [B, T, M, 4], its centre or box there.
      present: [B, T, M] bool, which frames it is read in.
    """
    where = sinusoid(where, self.width, bank=self.position_bank)
    present = by_track(present)  # [B M, T]
    appearance = self.appearance(by_track(pooled), present)
    position = self.position(by_track(where), present)
    embedding = (appearance + position).sum(1)  # [B M, D]
    return embedding.reshape(pooled.shape[0], -1, self.width)

  def cells(
    self, frames: jax.Array, grid: tuple[int, int], *, train: bool = False
  ) -> tuple[jax.Array, dict]:
    """Returns features [B, T, h, w, D], and new running statistics.

    Args:
      frames: [B, T, H, W, 3] float.
      grid: (h, w).
      train: whether batch statistics are used.
    """
    batch, count = frames.shape[:2]
    images = frames.reshape(-1, *frames.shape[2:])
    stages, stats = self.stem(images, train=train)
    shape = (batch * count, *grid, self.width)
    total = jnp.zeros(shape, self.dtype)
    for project, stage in zip(self.project, stages, strict=True):
      x = self.norm(project(stage))
      total += jax.image.resize(x, shape, "bilinear", antialias=False)
    return total.reshape(batch, count, *shape[1:]), stats
