"""Learned registers that read the patches of a clip: nested 1-D tokens."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attention_methods.context import Context
from trajvit.layers.block import Block
from trajvit.layers.norm import LayerNorm
from trajvit.layers.normed_block import NormedBlock
from trajvit.layers.stack import Stack
from trajvit.layers.timed_block import TimedBlock
from trajvit.ops.attention import Coordinates, from_pattern
from trajvit.ops.attention.patterns import build_pattern
from trajvit.ops.frame_rate import thinned
from trajvit.ops.nested import keep_first
from trajvit.ops.standardize import standardize
from trajvit.ops.tokens import zero_masked
from trajvit.tokenizers.tubelet import TubeletTokenizer
from trajvit.types import Clip, Tokens


class RegisterTokenizer(nnx.Module):
  """Patches and learned registers in one Transformer; registers are the tokens.

  What the patches say of a clip is gathered in N registers, or in N a step of
  time. With the pattern `nested_registers` register j comes out the same
  however many there are behind it: the first k of N tokens can be computed
  alone, and mean what they mean among N. With `dense`, all read all, they mean
  something together only.

  Source: TiTok, arXiv:2406.07550 (`dense`); FlexTok, arXiv:2502.13967
  (`nested_registers`), and VideoFlexTok over steps. These read an image's
  pixels or the latents of a frozen autoencoder; here it is the frames of a
  clip, whichever they are.

  Nested dropout reads the last register once in N. With M `redundant` ones
  behind it, which training has and inference does without, that is M + 1 times
  in N + M (ReToK, arXiv:2601.01535).

  With `timed` attention it knows `clip.times` instead of numbers of frames, so
  that clips of any frame rate can be read; with `strides` it sees clips at
  lower rates than the decoder makes them (both: VFRTok, arXiv:2505.12053).

  Attributes:
    num_registers: of a step in training, N + M.

  Args:
    num_registers: N.
    redundant: M, registers that start as copies of the last one.
    each_step: whether every layer of tubelets has N registers of its own, and
      reads the layers before it as the pattern says; else the clip is one step.
    patch: (frames, rows, columns) of a tubelet; each divides the clip.
    position: of the patches, see `tubelet`. A register is its own position.
    init_std: of positions and registers before training, see `tubelet`.
    class_token: whether a learned token is in front of the patches of every
      step, and read like them, as in TiTok's released weights.
    first_norm: whether what enters the blocks is normalised, likewise.
    normed: whether blocks are FlexTok's, `layers.normed_block`, and the last
      norm, too, is without parameters.
    pattern: who reads whom, spec of an entry in PATTERNS.
    timed: options of `layers.timed_block`; None reads no times.
    strides: in training a clip is seen every r-th frame, r one of these.
    depth: number of blocks.
    mlp_dim: hidden width of their perceptrons; None is 4 D, or what normed
      blocks have.
    epsilon: of the layer norms that have parameters.
    block: tokens in a block of the attention's mask; the kernels for TPU need a
      multiple of 128.
    remat: what of a block is computed twice, see `layers.remat`.
    channels: C of the frames, 3 or those of latents.
    width: D.
    num_heads: K.
    clip_shape: (T, H, W).
    dtype: of the products; norms and softmax are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    num_registers: int,
    redundant: int = 0,
    each_step: bool = False,
    patch: tuple[int, int, int] = (2, 16, 16),
    position: str = "factorized",
    init_std: float = 0.02,
    class_token: bool = False,
    first_norm: bool = False,
    normed: bool = False,
    pattern: dict | None = None,
    timed: dict | None = None,
    strides: tuple[int, ...] = (),
    depth: int = 12,
    mlp_dim: int | None = None,
    epsilon: float = 1e-6,
    block: int = 128,
    remat: str | bool = "none",
    channels: int = 3,
    width: int,
    num_heads: int,
    clip_shape: tuple[int, int, int],
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if num_registers < 1:
      raise ValueError(f"num_registers must be at least 1, got {num_registers}")
    if redundant < 0:
      raise ValueError(f"redundant must be at least 0, got {redundant}")
    if normed and timed is not None:
      raise ValueError("blocks are either normed or timed, got both")
    self.width, self.num_kept = width, num_registers
    self.num_registers = num_registers + redundant
    self.pattern = build_pattern(pattern or {"name": "nested_registers"})
    self.block, self.timed = block, timed is not None
    self.strides = tuple(strides)
    if self.strides and (patch[0] != 1 or min(self.strides) < 1):
      raise ValueError(
        "strides must be at least 1, for patches of one frame, got "
        f"{self.strides} and patch {tuple(patch)}"
      )
    self.patches = TubeletTokenizer(
      patch=patch,
      position=position,
      init_std=init_std,
      channels=channels,
      width=width,
      clip_shape=clip_shape,
      dtype=dtype,
      rngs=rngs,
    )
    self.steps = self.patches.grid[0] if each_step else 1
    init = nnx.initializers.truncated_normal(init_std)
    registers = init(rngs.params(), (self.steps, num_registers, width))
    copies = jnp.repeat(registers[:, -1:], redundant, axis=1)
    self.registers = nnx.Param(jnp.concatenate([registers, copies], axis=1))
    shape = (self.steps, 1, width)
    self.class_token = (
      nnx.Param(init(rngs.params(), shape)) if class_token else None
    )
    options = dict(epsilon=epsilon, dtype=dtype)

    def make(rngs):
      if normed:
        return NormedBlock(width, num_heads, mlp_dim, dtype=dtype, rngs=rngs)
      hidden = 4 * width if mlp_dim is None else mlp_dim
      sizes = width, num_heads, hidden
      if timed is not None:
        return TimedBlock(*sizes, timed=timed, rngs=rngs, **options)
      return Block(*sizes, rngs=rngs, **options)

    self.blocks = Stack(make, depth, remat=remat, rngs=rngs)
    self.norm_first = LayerNorm(width, **options) if first_norm else None
    self.norm = None if normed else LayerNorm(width, **options)

  def __call__(
    self, clip: Clip, *, key=None, budget: int | None = None
  ) -> tuple[Tokens, dict]:
    """Returns the registers that have read the clip, a step after the other.

    Args:
      clip: `frames` [B, T, H, W, C] float, and `times` if these are read.
      key: given in training, where redundant registers are returned, too, and
        frames are left out.
      budget: how many registers of a step are computed, the first ones; None is
        all. Beside `nested_registers` that is another function than the first
        of all.

    Returns:
      Tokens of S steps, in whose middle they are placed, and in that of the
      frame: the budget of each, by default N, and in training N + M. Steps
      without a real frame are masked. Aux is empty.

    Raises:
      ValueError: a budget that is not in [1, N], a clip of another shape, or
        one without times where they are read.
    """
    count = self.num_registers if budget is None else budget
    if not 1 <= count <= self.num_registers:
      raise ValueError(
        f"budget must be in [1, {self.num_registers}], got {budget}"
      )
    told = self.num_kept if budget is None and key is None else count
    if self.strides and key is not None:
      clip = thinned(clip, key, self.strides)
    patches, _ = self.patches(clip)
    both = self._with_registers(patches, count)
    context = Context(
      mask=self._mask(both.mask, count),
      times=self._times(clip, count) if self.timed else None,
    )
    features = both.features
    if self.norm_first is not None:
      features = self.norm_first(features)
    features, _ = self.blocks(features, context)
    first = features.shape[1] // self.steps - count
    where = (slice(None), slice(None), slice(first, first + told))
    features = self._steps(features)[where]
    features = (
      standardize(features) if self.norm is None else self.norm(features)
    )
    mask = self._steps(both.mask)[where]
    positions = self._steps(both.positions)[where]
    tokens = Tokens(
      features=self._flat(features),
      mask=self._flat(mask),
      positions=self._flat(positions),
      size=self._flat(mask).astype(jnp.float32),
    )
    return zero_masked(tokens), {}

  def keep_first(self, tokens: Tokens, keep: jax.Array | int) -> Tokens:
    """Returns tokens of which the first of every step are left.

    Args:
      tokens: of a call without a budget.
      keep: how many of a step, [B] or [B, S] int32, or one number for all.
    """
    mask = self._flat(keep_first(self._steps(tokens.mask), keep))
    return zero_masked(dataclasses.replace(tokens, mask=mask))

  def _with_registers(self, patches, count):
    """All that the blocks read, a step after the other, as Tokens."""
    own = patches.features, patches.mask, patches.positions
    own = tuple(self._steps(x) for x in own)
    parts = [own, self._learned(self.registers[...][:, :count], own)]
    if self.class_token is not None:
      parts.insert(0, self._learned(self.class_token[...], own))
    features, mask, positions = (
      self._flat(jnp.concatenate(xs, axis=2)) for xs in zip(*parts, strict=True)
    )
    size = mask.astype(jnp.float32)
    return Tokens(features, mask, positions, size)

  def _learned(self, values, patches):
    """Features, mask and positions [B, S, n, ...] of `values` [S, n, D]."""
    features, mask, _ = patches
    shape = (mask.shape[0], *values.shape)
    real = jnp.broadcast_to(mask.any(-1, keepdims=True), shape[:-1])
    middle = (jnp.arange(self.steps) + 0.5) / self.steps
    middle = jnp.stack([middle, *[jnp.full(self.steps, 0.5)] * 2], -1)
    middle = jnp.broadcast_to(middle[:, None], (*shape[:-1], 3))
    return jnp.broadcast_to(values, shape).astype(features.dtype), real, middle

  def _times(self, clip, count):
    """Seconds of all that the blocks read [B, N], the means of real frames."""
    if clip.times is None:
      raise ValueError("timed registers need a clip with times, got none")
    real = clip.frame_mask
    real = jnp.ones_like(clip.times, bool) if real is None else real
    seconds = jnp.where(real, clip.times, 0)

    def middle(parts):
      shape = (len(seconds), parts, -1)
      frames = jnp.maximum(real.reshape(shape).sum(-1), 1)
      return seconds.reshape(shape).sum(-1) / frames

    layers, rows, columns = self.patches.grid
    patches = self._steps(jnp.repeat(middle(layers), rows * columns, axis=1))
    step = middle(self.steps)[..., None]
    front = step[..., : self.class_token is not None]
    registers = jnp.repeat(step, count, axis=2)
    return self._flat(jnp.concatenate([front, patches, registers], axis=2))

  def _mask(self, mask, count):
    """The BlockMask of patches and registers, [B, N] bool."""
    length = mask.shape[1]
    step, place = jnp.divmod(jnp.arange(length), length // self.steps)
    patches = length // self.steps - count
    register = place >= patches
    coordinates = Coordinates(
      segment=jnp.where(mask, 0, -1),
      t=step,
      y=jnp.zeros_like(step),
      x=jnp.zeros_like(step),
      register=register,
      index=jnp.where(register, place - patches, place),
    )
    coordinates = jax.tree.map(
      lambda x: jnp.broadcast_to(x, mask.shape).astype(jnp.int32), coordinates
    )
    return from_pattern(
      self.pattern,
      coordinates,
      block_query=self.block,
      block_key=self.block,
    )

  def _steps(self, x):
    """[B, S n, ...] to [B, S, n, ...]."""
    return x.reshape(x.shape[0], self.steps, -1, *x.shape[2:])

  def _flat(self, x):
    """[B, S, n, ...] to [B, S n, ...]."""
    return x.reshape(x.shape[0], -1, *x.shape[3:])
