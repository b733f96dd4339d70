"""Subobject tokens: every segment's crop, read by a small encoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.patches import patchify
from trajvit.layers.resampler import Resampler
from trajvit.ops.crops import crop_tracks
from trajvit.ops.position import fourier
from trajvit.ops.tracks import track_areas, track_boxes
from trajvit.tokenizers.tracked import by_track, track_tokens, tracked_clip
from trajvit.types import Clip, Tokens

# Frequencies of a box coordinate.
FREQUENCIES = 8


class SubobjectTokenizer(nnx.Module):
  """Subobject tokens (SeqAE): the given segments' crops, masked and encoded.

  Source: the encoder of SeqAE in Subobject-level Image Tokenization,
  arXiv:2402.14327, whose later versions embed segments in another way. A
  segment is cut out along its box, what is not its own is blanked, and learned
  queries read the rest as a sequence of small patches; where the box lies is
  embedded and added.

  We differ: segments are given, as tracks; a crop has a fixed size, not a
  length that grows with the segment; the sizes of the encoder are ours; it
  learns from the model's loss, and no decoder reconstructs the pixels. One
  token a track (`scope="track"`) is ours as well. A crop is read for every slot
  of every frame, empty or not.

  Args:
    patch: rows = columns of the patches in which `size` counts. The label map
      has a whole number of cells in each.
    crop: rows = columns of a crop, in pixels.
    crop_patch: rows = columns of a crop's patches; divides `crop`.
    num_queries: how many vectors read a crop; they are joined into one.
    depth: layers of the crop's encoder.
    scope: "frame": a token for each track in each frame, N = T M; "track": they
      are read over time into one for each track, N = M.
    max_tracks: M, slots for tracks.
    width: D.
    num_heads: K, the encoder's.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  needs_tracks = True

  def __init__(
    self,
    *,
    patch: int = 16,
    crop: int = 16,
    crop_patch: int = 4,
    num_queries: int = 1,
    depth: int = 2,
    scope: str = "frame",
    max_tracks: int,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if scope not in ("frame", "track"):
      raise ValueError(f"scope must be 'frame' or 'track', got {scope!r}")
    if crop % crop_patch:
      raise ValueError(f"crop_patch must divide crop {crop}, got {crop_patch}")
    self.patch, self.max_tracks = patch, max_tracks
    self.crop, self.crop_patch = crop, crop_patch
    options = dict(dtype=dtype, rngs=rngs)
    self.embed = Linear(4 * crop_patch * crop_patch, width, **options)
    init = nnx.initializers.truncated_normal(0.02)
    count = (crop // crop_patch) ** 2
    self.place = nnx.Param(init(rngs.params(), (count, width)))
    self.box = Linear(8 * FREQUENCIES + 4, width, **options)
    self.join = Linear(num_queries * width, width, **options)
    options |= dict(num_heads=num_heads, latent_scale=0.02, init="lecun")
    self.read = Resampler(
      width,
      depth=depth,
      num_latents=num_queries,
      use_rotary=False,
      mlp_ratio=2,
      **options,
    )
    options |= dict(depth=1, mlp_ratio=2)
    self.over_time = Resampler(width, **options) if scope == "track" else None

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns the tokens of a frame's tracks, frame after frame, or of tracks.

    Args:
      clip: `frames` [B, T, H, W, 3] float; `tracks` [B, T, s h, s w] int32 for
        a whole s >= 1, where h = H / patch.
      key: unused.

    Returns:
      Tokens; a track not in the frame, or the clip, is a masked slot of zeros.
      Aux: `area` [B, T, M] in patches.

    Raises:
      ValueError: `tracks` are missing or on another grid.
    """
    del key
    batch, frames, *pixels, _ = clip.frames.shape
    grid = tuple(n // self.patch for n in pixels)
    clip = tracked_clip(clip, grid)
    area = track_areas(clip.tracks, self.max_tracks) * grid[0] * grid[1]
    x = self._encode(clip)  # [B, T, M, D]
    if self.over_time is not None:
      x = self.over_time(by_track(x), by_track(area > 0))
      x = x.reshape(batch, self.max_tracks, -1)
      return track_tokens(x, area, clip.tracks), {"area": area}

    def flat(x):
      return x.reshape(batch * frames, *x.shape[2:])

    tokens = track_tokens(
      flat(x), flat(area)[:, None], flat(clip.tracks)[:, None]
    )
    tokens = jax.tree.map(
      lambda x: x.reshape(batch, frames * self.max_tracks, *x.shape[2:]), tokens
    )
    middle = jnp.repeat((jnp.arange(frames) + 0.5) / frames, self.max_tracks)
    time = jnp.where(tokens.mask, middle, 0)
    positions = tokens.positions.at[..., 0].set(time)
    tokens = Tokens(tokens.features, tokens.mask, positions, tokens.size)
    return tokens, {"area": area}

  def _encode(self, clip: Clip) -> jax.Array:
    """Returns [B, T, M, D], anything for a track not in the frame."""
    crops, inside = crop_tracks(
      clip.frames, clip.tracks, self.max_tracks, self.crop
    )
    own = inside[..., None].astype(crops.dtype)
    shape = crops.shape[:3]

    def sequence(x):
      """[B, T, M, S, S, C] -> [B T M, P, p], the patches of every crop."""
      x = x.reshape(-1, 1, *x.shape[3:])
      x = patchify(x, (1, self.crop_patch, self.crop_patch))
      return x.reshape(x.shape[0], -1, x.shape[-1])

    x = self.embed(sequence(jnp.concatenate([crops, own], axis=-1)))
    x += self.place[...].astype(x.dtype)
    x = self.read(x, sequence(own).any(-1))  # [B T M, queries, D]
    x = self.join(x.reshape(*shape, -1))
    boxes = track_boxes(clip.tracks, self.max_tracks)
    return x + self.box(fourier(boxes, FREQUENCIES))
