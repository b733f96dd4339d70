"""Gated residual tokens: patches that differ from their scene's key frame."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.patches import patchify
from trajvit.ops.change import previous_real
from trajvit.ops.merging import merge, plan_merging
from trajvit.ops.runs import keep_most_changed
from trajvit.ops.segments import similarity_segments
from trajvit.ops.ssim import patch_ssim
from trajvit.ops.tokens import take, zero_masked, zero_masked_frames
from trajvit.ops.unit import unit
from trajvit.pixels import LEVELS
from trajvit.tokenizers.kept_patches import KeptPatches
from trajvit.types import Clip, Tokens

LUMA = (0.299, 0.587, 0.114)


class GrtTokenizer(KeptPatches):
  """GRT: key frames whole, and the patches that are no longer like them.

  A patch is dropped if its SSIM, in luma, with the same place of its scene's
  key frame is at least the threshold. A scene begins with its key frame, where
  patches are, on average, unlike those just before. In the end a scene whose
  key frame is like that of the scene before it can be fused with it. Source:
  gated residual tokenization, which gates by motion in pixels and then merges
  across scenes; how scenes are found and fused, and the numbers, are ours.

  Args:
    patch: (frames, side, side) of a tubelet; frame here means tubelet layer.
    threshold: of SSIM; as much is static.
    scene_threshold: a frame begins a scene if the mean SSIM of its patches with
      those of the frame before is below it.
    fuse: the mean cosine of the tokens of two key frames at the same places,
      above which those of the later one join those of the earlier: means by
      size, with the earlier positions. None fuses none.
    k: slots, see KeptPatches; where there are too few, the patches least like
      their key frame stay.
    position: of `tubelet`.
    normalization: of the frames that come in.
    width: D.
    clip_shape: (T, H, W).
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    threshold: float = 0.9,
    scene_threshold: float = 0.3,
    fuse: float | None = None,
    k: int | None = None,
    position: str = "factorized",
    normalization: str = "symmetric",
    width: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(
      patch=patch,
      k=k,
      position=position,
      normalization=normalization,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    self.threshold, self.scene_threshold = threshold, scene_threshold
    self.fuse = fuse

  def choose(self, clip: Clip, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the patches unlike their key frame, and how unlike they are."""
    keep, score, _ = self._gate(clip, mask)
    return keep, score

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns tokens as KeptPatches; fused ones are not among `kept`."""
    if self.fuse is None:
      return super().__call__(clip, key=key)
    clip = zero_masked_frames(clip)
    tokens, _ = self.patches(clip)
    mask = tokens.mask.reshape(-1, *self.tubelets)
    keep, score, starts = self._gate(clip, mask)
    head, joins = self._chains(tokens, starts)
    joins = joins[:, :, None, None] & keep
    kept = keep_most_changed(score, keep & ~joins, self.k)

    patches = self.tubelets[1] * self.tubelets[2]
    own = jnp.arange(tokens.mask.shape[1], dtype=jnp.int32)
    target = jnp.repeat(head, patches, axis=1) * patches + own % patches
    flat = joins.reshape(tokens.mask.shape)
    read = zero_masked(
      dataclasses.replace(tokens, mask=flat | kept.reshape(flat.shape))
    )
    merging = plan_merging(
      jnp.where(flat, target, own), read.mask, slots=self.k
    )
    merged = merge(read, merging)
    positions = take(read, merging.head).positions
    positions = jnp.where(merging.mask[..., None], positions, 0)
    lost = (keep & ~joins & ~kept).sum((1, 2, 3), dtype=jnp.int32)
    aux = {"kept": kept, "overflow": lost + merging.overflow}
    return dataclasses.replace(merged, positions=positions), aux

  def _gate(self, clip, mask):
    """What to keep and its score, [B, t, h, w], and key frames, [B, t]."""
    real = self.real_frames(clip)
    luma = (self.levels(clip) * np.array(LUMA, np.float32)).sum(-1) / LEVELS
    x = patchify(luma[..., None], self.patch)  # [B, t, h, w, p]
    before, _ = previous_real(x, real)
    alike = patch_ssim(x, before).mean((2, 3))  # [B, t]
    starts = similarity_segments(
      alike, real, threshold=self.scene_threshold, max_segments=x.shape[1]
    ).starts
    key = jax.lax.cummax(jnp.where(starts, jnp.arange(x.shape[1]), 0), axis=1)
    held = jnp.take_along_axis(x, key[:, :, None, None, None], axis=1)
    ssim = patch_ssim(x, held)
    starts_here = starts[:, :, None, None]
    keep = mask & (starts_here | (ssim < self.threshold))
    return keep, jnp.where(starts_here, jnp.inf, 1 - ssim), starts

  def _chains(self, tokens, starts):
    """The key frame [B, t] int32 that each key frame ends up in, and joins.

    Scenes that follow each other are compared; one that joins a scene that has
    joined another is in a chain, and ends up where that begins.
    """
    batch, frames = starts.shape
    x = unit(jax.lax.stop_gradient(tokens.features))
    x = x.reshape(batch, frames, -1, x.shape[-1])
    before, some = previous_real(x, starts)
    alike = (x * before).sum(-1).mean(-1)  # [B, t]
    joins = starts & some & (alike > self.fuse)
    opens = jnp.where(starts & ~joins, jnp.arange(frames), 0)
    return jax.lax.cummax(opens, axis=1).astype(jnp.int32), joins
