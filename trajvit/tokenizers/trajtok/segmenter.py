"""TrajTok's segmenter: which slot every cell of a clip belongs to, in one pass.

Source: TrajTok (CVPR 2026) and the code that its authors released.
"""

import dataclasses
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.perceiver import Perceiver
from trajvit.layers.stems import STEMS
from trajvit.layers.upscale import Upscale
from trajvit.ops.tokens import zero_masked_frames
from trajvit.ops.unit import unit
from trajvit.tokenizers.trajtok.latents import grid_latents
from trajvit.tokenizers.trajtok.place import Place
from trajvit.types import Array, Clip

# The parameter of the scale goes through softplus: log 16, the release's, is
# a scale of 1 + log(1 + 16) = 3.83.
INITIAL_SCALE, LARGEST_SCALE = 1 + math.log(17), 20.0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Segmentation:
  """What the segmenter says of a batch of clips, padding frames zeros.

  Attributes:
    patches: [B, T, h, w, D], features of the cells, places included.
    queries: [B, M, D], what the slots have read of the clip.
    logits: [B, T, h, w, M] float32: cosines of cells and slots, times a scale.
    high_logits: [B, T, H', W', M] float32, the same for finer cells, or None.
  """

  patches: Array
  queries: Array
  logits: Array
  high_logits: Array | None = None

  def aux(self, assignment: Array) -> dict:
    """Returns what a model tells of the segmentation.

    Args:
      assignment: [B, T, h, w] int32, see `hard_assignment`.
    """
    aux = {"logits": self.logits, "assignment": assignment}
    if self.high_logits is not None:
      aux["high_logits"] = self.high_logits
    return aux


def hard_assignment(logits: Array, frame_mask: Array | None) -> Array:
  """Returns [B, T, h, w] int32, the slot of every cell, without a gradient.

  Args:
    logits: [B, T, h, w, M]; the first of equal slots wins.
    frame_mask: [B, T] bool or None; cells of padding frames get -1.
  """
  best = jnp.argmax(logits, axis=-1).astype(jnp.int32)
  if frame_mask is None:
    return best
  return jnp.where(frame_mask[:, :, None, None], best, -1)


class Segmenter(nnx.Module):
  """Slots that read a whole clip, and cells that choose among them.

  A perceiver lets M slots read the stem's cells of all frames. A small
  perceptron maps slots, another one cells, to vectors whose cosine, times a
  learned scale in (1, 20], is the logit of the cell belonging to the slot. As
  a slot is the same in every frame, what it owns is a trajectory. Nothing has
  a number of frames built in.

  We differ from the release in the perceiver's positions (`position`), in that
  features know their place (`add_position`), and in that padding frames exist
  and are not read.

  Args:
    stem: a module as in `layers.stems`; its width is D.
    num_slots: M.
    num_heads: K of the perceiver.
    depth: layers of the perceiver.
    position: "rotary_3d", or the release's "rotary_1d"; see `Perceiver`.
    add_position: add to the stem's features where and when a cell is, see
      `Place`. The release does not: there a motion shows in no token, but for
      what the zeros at a frame's border tell a large stem.
    high_resolution: in training also return logits for every pixel, of cells
      that `layers.upscale` makes finer by the stem's stride, 1, 2, 4 or 8.
    detach: keep the gradient of the slots out of the stem, which then learns
      from the cells' side alone, as in the release. False trains it from both.
    head_dims: hidden width and width of what the cosines compare.
    initial_scale: of the cosines, in (1, 20]. The default is the release's, at
      which assignments start nearly flat; steps of an optimizer hardly move it,
      so that a training of minutes wants about 10.
    dtype: of the products; logits are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    stem: nnx.Module,
    *,
    num_slots: int,
    num_heads: int,
    depth: int = 2,
    position: str = "rotary_3d",
    add_position: bool = True,
    high_resolution: bool = False,
    detach: bool = True,
    head_dims: Sequence[int] = (128, 64),
    initial_scale: float = INITIAL_SCALE,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if num_slots < 1:
      raise ValueError(f"num_slots must be at least 1, got {num_slots}")
    if not 1 < initial_scale <= LARGEST_SCALE:
      raise ValueError(
        f"initial_scale must be in (1, {LARGEST_SCALE:g}], got {initial_scale}"
      )
    self.stem, self.detach = stem, detach
    self.num_slots, self.width = num_slots, stem.width
    options = dict(dtype=dtype, rngs=rngs)
    self.place = Place(stem.width, **options) if add_position else None
    latents = grid_latents(rngs.params(), num_slots, stem.width)
    self.latents = nnx.Param(latents)
    self.perceiver = Perceiver(
      stem.width,
      num_heads=num_heads,
      depth=depth,
      position=position,
      **options,
    )
    self.slot_head = Head(stem.width, *head_dims, **options)
    self.cell_head = Head(stem.width, *head_dims, **options)
    fine = dict(outputs=head_dims[-1], scale=stem.stride, **options)
    self.high_slot_head = (
      Head(stem.width, *head_dims, **options) if high_resolution else None
    )
    self.high_cell_head = (
      Upscale(stem.width, **fine) if high_resolution else None
    )
    self.log_scale = nnx.Param(jnp.log(jnp.expm1(initial_scale - 1)))

  def __call__(
    self, frames: Array, frame_mask: Array | None = None, *, train: bool = False
  ) -> Segmentation:
    """Returns the segmentation of every clip.

    Args:
      frames: [B, T, H, W, 3] float, normalised as the stem wants them; any T.
      frame_mask: [B, T] bool, False = padding, which changes nothing; None =
        all real.
      train: whether high-resolution logits are wanted, where there are any.

    Raises:
      ValueError: from the stem, for frames that it cannot divide.
    """
    frames = zero_masked_frames(Clip(frames, frame_mask)).frames
    images = frames.reshape(-1, *frames.shape[2:])
    patches = self.stem(images)
    patches = patches.reshape(*frames.shape[:2], *patches.shape[1:])
    if self.place is not None:
      patches += self.place(patches.shape[1:4], frame_mask)
    mask = None
    if frame_mask is not None:
      frame_mask = frame_mask[:, :, None, None, None]
      patches = jnp.where(frame_mask, patches, 0)
      mask = jnp.broadcast_to(frame_mask[..., 0], patches.shape[:-1])

    read = jax.lax.stop_gradient(patches) if self.detach else patches
    latents = self.latents[...].astype(patches.dtype)
    latents = jnp.broadcast_to(latents, (frames.shape[0], *latents.shape))
    queries = self.perceiver(latents, read, mask=mask)  # [B, M, D]

    cells, slots = self.cell_head(patches), self.slot_head(queries)
    logits = self._logits(cells, slots, frame_mask)
    high = None
    if train and self.high_cell_head is not None:
      cells, slots = self.high_cell_head(patches), self.high_slot_head(queries)
      high = self._logits(cells, slots, frame_mask)
    return Segmentation(patches, queries, logits, high)

  def scale(self) -> Array:
    """Returns what cosines are multiplied with, [] float32 in (1, 20]."""
    grown = jax.nn.softplus(self.log_scale[...]) + 1
    return jnp.minimum(grown, LARGEST_SCALE)

  def _logits(self, cells, slots, real):
    """[B, T, h, w, C] and [B, M, C] -> [B, T, h, w, M] float32."""
    cosines = jnp.einsum("bthwc,bmc->bthwm", unit(cells), unit(slots))
    logits = self.scale() * cosines
    return logits if real is None else jnp.where(real, logits, 0)


class Head(nnx.Module):
  """Linear, ReLU, linear."""

  def __init__(self, inputs, hidden, outputs, *, dtype, rngs):
    options = dict(init="torch", dtype=dtype, rngs=rngs)
    self.inner = Linear(inputs, hidden, **options)
    self.outer = Linear(hidden, outputs, **options)

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., inputs] to [..., outputs]."""
    return self.outer(jax.nn.relu(self.inner(x)))


def build_segmenter(
  stem: dict, *, width: int, dtype=jnp.float32, rngs: nnx.Rngs, **options
) -> Segmenter:
  """Returns a segmenter from the spec of its stem.

  Args:
    stem: spec of an entry in STEMS.
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
    **options: of `Segmenter`.
  """
  shared = dict(dtype=dtype, rngs=rngs)
  stem = STEMS.build(stem, width=width, **shared)
  return Segmenter(stem, **shared, **options)
