"""Slot attention on clips: the ablation of TrajTok's assignment."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.block import Block
from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm
from trajvit.layers.slot_attention import SlotAttention
from trajvit.layers.stems import STEMS
from trajvit.ops.tokens import zero_masked_frames
from trajvit.tokenizers.trajtok.pooling import slot_tokens
from trajvit.tokenizers.trajtok.segmenter import hard_assignment
from trajvit.types import Clip, Tokens

VIDEOS = ("clip", "frame")


class SlotTokenizer(nnx.Module):
  """Slot attention: a clip's cells are shared out among slots, the tokens.

  Source: Object-Centric Learning with Slot Attention, Locatello et al. 2020;
  `video="frame"` is after SAVi, arXiv:2111.12594: the slots of a frame start
  from those of the frame before, after a Transformer block that predicts.

  It stands beside `trajtok`, with the same stems and the same aux: rounds of
  competition in place of a perceiver and cosines. As the slots are the tokens,
  a loss on them moves the assignment.

  We differ: slots start from learned vectors, one each, and not from samples of
  one Gaussian, so that inference is not random; every frame has as many rounds
  as the first. Ours are `video="clip"`, where the cells of all frames compete
  at once as they do in TrajTok, and that with "frame" a token is the mean of
  its slot over frames, weighted by the cells that it owns in each.

  Args:
    stem: spec of an entry in STEMS; its cells are told their (t, y, x).
    num_slots: M.
    rounds: of competition, on the clip or on each frame.
    video: "clip" or "frame".
    mlp_ratio: hidden width of the slots' perceptrons, in widths.
    width: D of cells, slots and tokens.
    num_heads: K of the block that predicts, the encoder's.
    dtype: of the products; the competition is float32.
    rngs: holds the key of the initial values.
  """

  needs_tracks = False

  def __init__(
    self,
    *,
    stem: dict,
    num_slots: int = 32,
    rounds: int = 3,
    video: str = "clip",
    mlp_ratio: int = 2,
    width: int,
    num_heads: int,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if video not in VIDEOS:
      raise ValueError(
        f"video must be one of {', '.join(VIDEOS)}, got {video!r}"
      )
    if min(num_slots, rounds) < 1:
      raise ValueError(
        f"num_slots and rounds must be at least 1, got {num_slots} and {rounds}"
      )
    self.num_slots, self.rounds = num_slots, rounds
    options = dict(dtype=dtype, rngs=rngs)
    self.stem = STEMS.build(stem, width=width, **options)
    self.place = Linear(6, width, **options)
    self.norm = LayerNorm(width, dtype=dtype)
    self.embed = Mlp(width, width, activation="relu", **options)
    init = nnx.initializers.normal(width**-0.5)
    self.slots = nnx.Param(init(rngs.params(), (num_slots, width)))
    self.compete = SlotAttention(width, mlp_ratio=mlp_ratio, **options)
    predict = video == "frame"
    hidden = mlp_ratio * width
    self.predict = (
      Block(width, num_heads, hidden, **options) if predict else None
    )

  def __call__(self, clip: Clip, *, key=None) -> tuple[Tokens, dict]:
    """Returns N = M tokens; those of slots that own no cell are masked.

    Args:
      clip: `frames` [B, T, H, W, 3] float, any T; tracks are not read.
      key: unused.

    Returns:
      Tokens, whose `positions` and `size` are of the cells that prefer them,
      and aux: `logits` [B, T, h, w, M] float32 of the last round, whose softmax
      over slots is the soft assignment, zeros in padding frames; `assignment`
      [B, T, h, w] int32 in [0, M), or -1 in padding frames.
    """
    del key
    clip = zero_masked_frames(clip)
    cells = self._cells(clip.frames)  # [B, T, h, w, D]
    batch, frames, *grid, width = cells.shape
    cells = cells.reshape(batch, frames, -1, width)
    real = clip.frame_mask
    real = jnp.ones((batch, frames), bool) if real is None else real
    slots = self.slots[...]
    slots = jnp.broadcast_to(slots, (batch, *slots.shape))
    read = self._read_clip if self.predict is None else self._read_frames
    slots, logits = read(slots, cells, real)

    logits = logits.reshape(batch, frames, *grid, self.num_slots)
    logits = jnp.where(real[:, :, None, None, None], logits, 0)
    owner = hard_assignment(logits, real)
    owned = owner[..., None] == jnp.arange(self.num_slots)
    owned = owned.reshape(batch, slots.shape[1], -1, self.num_slots).sum(2)
    share = owned / jnp.maximum(owned.sum(1, keepdims=True), 1)
    features = jnp.einsum("bsm,bsmd->bmd", share, slots).astype(cells.dtype)
    tokens = slot_tokens(features, owner, self.num_slots)
    return tokens, {"logits": logits, "assignment": owner}

  def _cells(self, frames: jax.Array) -> jax.Array:
    """[B, T, H, W, 3] -> [B, T, h, w, D], features that know their place."""
    batch, count = frames.shape[:2]
    x = self.stem(frames.reshape(-1, *frames.shape[2:]))
    x = x.reshape(batch, count, *x.shape[1:])
    axes = [(jnp.arange(n) + 0.5) / n for n in x.shape[1:4]]
    where = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)
    x += self.place(jnp.concatenate([where, 1 - where], axis=-1))
    return self.embed(self.norm(x))

  def _read_clip(self, slots, cells, real):
    """Cells [B, T, P, D] all at once -> [B, 1, M, D] and [B, T P, M]."""
    mask = jnp.repeat(real, cells.shape[2], axis=1)
    cells = cells.reshape(cells.shape[0], -1, cells.shape[-1])
    slots, logits = self.compete(slots, cells, mask, self.rounds)
    return slots[:, None], logits

  def _read_frames(self, slots, cells, real):
    """Cells [B, T, P, D] in turn -> [B, T, M, D] and [B, T, P, M]."""

    def read(slots, frame):
      cells, real = frame
      mask = jnp.broadcast_to(real[:, None], cells.shape[:2])
      found, logits = self.compete(slots, cells, mask, self.rounds)
      guess = self.predict(found)[0].astype(slots.dtype)
      # A padding frame is passed over.
      return jnp.where(real[:, None, None], guess, slots), (found, logits)

    frames = jnp.swapaxes(cells, 0, 1), jnp.swapaxes(real, 0, 1)
    _, (found, logits) = jax.lax.scan(read, slots, frames)
    return jnp.swapaxes(found, 0, 1), jnp.swapaxes(logits, 0, 1)
