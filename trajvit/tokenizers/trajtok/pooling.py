"""TrajTok's tokens: what latents read of the cells that a slot owns."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.perceiver import Perceiver
from trajvit.ops.tracks import track_areas
from trajvit.tokenizers.tracked import track_tokens
from trajvit.tokenizers.trajtok.latents import ring_latents
from trajvit.tokenizers.trajtok.segmenter import hard_assignment
from trajvit.types import Array, Tokens


class SegmentPool(nnx.Module):
  """Turns features and a segmentation of them into K' tokens a slot.

  Source: the SegmentTokenizer of TrajTok (CVPR 2026).

  "hard": a cell belongs to its best slot; latents of the slot, which start at
  the slot's soft mean, read its cells through a perceiver. "soft": the tokens
  are the soft means alone (equations 1 and 2 of the paper), normalised.

  A hard assignment has no gradient, so that the soft means, features averaged
  by the softmax of the logits over slots, are all that tells the segmenter what
  a loss on the tokens would rather have. `add_mean` is therefore on here, in
  hard assignment too; the release has it off, and there a contrastive loss
  trains the stem but not the assignment.

  The features may be any on a space-time grid, such as those of a frozen
  encoder; the logits are resized to it.

  Args:
    inputs: D of the features, and of the latents.
    outputs: width of the tokens.
    num_slots: M.
    num_heads: K of the perceiver.
    depth: layers of the perceiver.
    position: "rotary_3d" or "rotary_1d"; see `Perceiver`.
    assignment: "hard" or "soft".
    max_level: a slot has 2^max_level latents, which are nested: level l uses
      the first 2^l of them.
    level: K' = 2^level; None is max_level.
    add_mean: whether a slot's latents start at its soft mean.
    use_latents: whether there are latents besides the mean; without them there
      is one token a slot.
    leak_last_two: let every slot read the last two cells of the clip, as the
      released code does; for imported weights only.
    keep_empty: a slot without a cell has a token too, as in the released code,
      whose encoder reads all of them; for imported weights only.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    outputs: int,
    *,
    num_slots: int,
    num_heads: int,
    depth: int = 2,
    position: str = "rotary_3d",
    assignment: str = "hard",
    max_level: int = 0,
    level: int | None = None,
    add_mean: bool = True,
    use_latents: bool = True,
    leak_last_two: bool = False,
    keep_empty: bool = False,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    level = max_level if level is None else level
    if assignment not in ("hard", "soft"):
      raise ValueError(
        f"assignment must be 'hard' or 'soft', got {assignment!r}"
      )
    if not 0 <= level <= max_level:
      raise ValueError(f"level must be in [0, {max_level}], got {level}")
    if not (add_mean or use_latents):
      raise ValueError("tokens need add_mean or use_latents, got neither")
    soft = assignment == "soft"
    if level and (soft or not use_latents):
      raise ValueError(
        f"level {level} needs latents, which tell the tokens of a slot apart: "
        "assignment 'hard' and use_latents"
      )
    if soft and not add_mean:
      raise ValueError("assignment 'soft' is made of means: it needs add_mean")
    self.num_slots, self.per_slot = num_slots, 2**level
    self.add_mean, self.dtype = add_mean, dtype
    self.open_cells = 2 if leak_last_two else 0
    self.keep_empty = keep_empty
    options = dict(dtype=dtype, rngs=rngs)
    reading = dict(depth=depth, position=position, **options)
    self.norm = LayerNorm(inputs, dtype=dtype) if soft else None
    self.perceiver = (
      None if soft else Perceiver(inputs, num_heads=num_heads, **reading)
    )
    has_latents = use_latents and not soft
    shape = (num_slots, 2**max_level, inputs)
    self.latents = (
      nnx.Param(ring_latents(rngs.params(), *shape)) if has_latents else None
    )
    self.project = Linear(inputs, outputs, init="torch", **options)

  def __call__(
    self,
    features: Array,
    logits: Array,
    frame_mask: Array | None = None,
    owner: Array | None = None,
  ) -> tuple[Tokens, Array]:
    """Returns N = M K' tokens, and which slot owns each cell.

    Args:
      features: [B, T, h, w, D].
      logits: [B, T, h', w', M], resized bilinearly to (h, w) if need be.
      frame_mask: [B, T] bool, False = padding, never read; None = all real.
      owner: [B, T, h, w] int32 in [0, M), or -1 for a cell that no slot reads,
        where that is known better; None = the best slot by the logits.

    Returns:
      Tokens, those of a slot side by side. A slot without a cell is masked. The
      position is the mean (t, y, x) of the slot's cells, and the size their
      number, shared by the slot's tokens; both go by the hard assignment.
      Assignment [B, T, h, w] int32, -1 in padding frames.

    Raises:
      ValueError: logits of another number of frames or slots.
    """
    logits = logits_on_grid(logits, features, self.num_slots)
    if owner is None:
      owner = hard_assignment(logits, frame_mask)
    mask = owner >= 0
    features = jnp.where(mask[..., None], features, 0)

    x = self._start(features, logits, mask)  # [B, M, K', D]
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    if self.perceiver is None:
      x = self.norm(x)
    else:
      slots = jnp.repeat(jnp.arange(self.num_slots), self.per_slot)
      x = self.perceiver(
        x,
        features,
        mask=mask,
        slots=slots,
        owner=owner,
        open_cells=self.open_cells,
      )
    x = self.project(x)
    tokens = slot_tokens(x, owner, self.num_slots)
    if self.keep_empty:
      all_real = jnp.ones_like(tokens.mask)
      tokens = dataclasses.replace(tokens, features=x, mask=all_real)
    return tokens, owner

  def _start(self, features, logits, mask):
    """What the tokens are before they read their cells, [B, M, K', D]."""
    x = 0
    if self.add_mean:
      x = soft_means(features, logits, mask)[:, :, None]
    if self.latents is not None:
      x = x + self.latents[:, : self.per_slot]
    shape = (features.shape[0], self.num_slots, self.per_slot, x.shape[-1])
    return jnp.broadcast_to(x, shape).astype(self.dtype)


def logits_on_grid(logits: Array, features: Array, num_slots: int) -> Array:
  """Returns [B, T, h, w, M], resized bilinearly to the cells of features.

  Args:
    logits: [B, T, h', w', M].
    features: [B, T, h, w, D].
    num_slots: M.

  Raises:
    ValueError: logits of other clips, or of another number of frames or slots.
  """
  expected = (*features.shape[:2], *logits.shape[2:4], num_slots)
  if logits.shape != expected:
    raise ValueError(f"logits must be {expected}, got {logits.shape}")
  shape = (*features.shape[:-1], num_slots)
  if logits.shape == shape:
    return logits
  return jax.image.resize(logits, shape, "bilinear", antialias=False)


def soft_means(features: Array, logits: Array, mask: Array) -> Array:
  """Returns [B, M, D] float32, means of features by the softmax over slots.

  Args:
    features: [B, T, h, w, D].
    logits: [B, T, h, w, M].
    mask: [B, T, h, w] bool, False = a cell that counts for no slot.
  """
  share = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
  share = jnp.where(mask[..., None], share, 0)
  total = jnp.einsum(
    "bthwm,bthwd->bmd",
    share.astype(features.dtype),
    features,
    preferred_element_type=jnp.float32,
  )
  return total / (share.sum((1, 2, 3)) + 1e-6)[..., None]


def slot_tokens(features: Array, owner: Array, num_slots: int) -> Tokens:
  """Returns tokens of slots, masked where a slot owns no cell.

  Args:
    features: [B, M K', D], those of a slot side by side.
    owner: [B, T, h, w] int32 in [0, M), or -1.
    num_slots: M.
  """
  batch, count, width = features.shape
  per_slot = count // num_slots
  cells = owner.shape[2] * owner.shape[3]
  area = jnp.round(track_areas(owner, num_slots) * cells)  # [B, T, M]
  by_slot = features.reshape(batch, num_slots, per_slot * width)
  tokens = track_tokens(by_slot, area, owner)
  return Tokens(
    features=tokens.features.reshape(features.shape),
    mask=jnp.repeat(tokens.mask, per_slot, axis=1),
    positions=jnp.repeat(tokens.positions, per_slot, axis=1),
    size=jnp.repeat(tokens.size / per_slot, per_slot, axis=1),
  )
