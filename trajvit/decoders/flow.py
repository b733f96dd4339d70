"""Flow decoder: frames are made from noise, along a path that tokens steer."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.decoders.flow_trunk import FlowTrunk
from trajvit.layers.conditioning import Conditioning
from trajvit.layers.decoder import (
  Decoder,
  check_align_block,
  clip_keys,
  without_masked_frames,
)
from trajvit.ops import flow
from trajvit.ops.guidance import adaptive_projected, classifier_free
from trajvit.ops.prefix import check_prefix, draw_prefix
from trajvit.types import Tokens

# What is drawn for a clip, each from a stream of its own.
SIGMA, NOISE, NULL, PREFIX = range(4)


class FlowDecoder(Decoder):
  """Rectified flow over frames, or a latent, steered by the tokens.

  Source: FlexTok, arXiv:2502.13967; `ops.flow` has the formulas, `flow_trunk`
  the network. With frames a call draws a noise level and measures the velocity
  there; without, it samples.

  Args:
    width: of the tokens.
    clip_shape: (T, H, W), of the latent if it makes one.
    patch: (frames, rows, columns) of a patch.
    channels: C, 3 or the latent's.
    inner_width: D; None is `width`.
    depth: number of blocks.
    num_heads: K.
    num_tokens: see `layers.conditioning`, and the next two.
    tail: "drop", "mask" or "null".
    proportional: whether tokens count by their size.
    null_probability: how often, in training, the null token takes the place of
      a clip's tokens; 0 makes none, and there is no guidance.
    law: of the noise levels in training, and
    mode_scale: see `ops.flow.sigma_of`.
    stratified: spread the levels of a batch evenly.
    max_timestep: see `ops.sincos.timestep`.
    plane: whether patches have the positions of images, of row and column
      alone, as released weights need it.
    prefix: `{"lengths": (0, 4), "probabilities": (0.5, 0.5)}`: in training, so
      many first frames are shown (almost) without noise, and count in no loss
      (VideoFlexTok). Lengths are whole patches. None shows none.
    align_block: a block, from 0, whose patches are returned as `hidden` for an
      objective that aligns them (REPA, arXiv:2410.06940); FlexTok's is 1.
    steps: of sampling.
    guidance: scale g; exactly 1 computes nothing without the condition.
    solver: "euler" or "heun".
    shift: of the levels of sampling, see `ops.flow.descent`.
    projected: options of `ops.guidance.adaptive_projected`, such as {}; None is
      classifier-free guidance.
    seed: of the noise where no key is given.
    remat: what of a block is computed twice, see `layers.remat`.
    dtype: of the products; the flow itself is float32.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: guidance without a null token; a block to align that is not
      there; prefixes that are no whole patches.
  """

  def __init__(
    self,
    *,
    width: int,
    clip_shape: tuple[int, int, int],
    patch: tuple[int, int, int] = (2, 8, 8),
    channels: int = 3,
    inner_width: int | None = None,
    depth: int = 4,
    num_heads: int = 4,
    num_tokens: int | None = None,
    tail: str = "drop",
    proportional: bool = False,
    null_probability: float = 0.1,
    law: str = "logit_normal",
    mode_scale: float = 1.29,
    stratified: bool = False,
    max_timestep: float = 1.0,
    plane: bool = False,
    prefix: dict | None = None,
    align_block: int | None = None,
    steps: int = 25,
    guidance: float = 1.0,
    solver: str = "euler",
    shift: float = 1.0,
    projected: dict | None = None,
    seed: int = 0,
    remat: str | bool = "none",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    super().__init__(clip_shape=clip_shape, patch=patch, channels=channels)
    if not 0 <= null_probability < 1:
      raise ValueError(
        f"null_probability must be in [0, 1), got {null_probability}"
      )
    if guidance != 1 and not null_probability:
      raise ValueError(
        f"guidance {guidance} needs null_probability > 0: without it nothing "
        "is learned about clips without tokens"
      )
    if prefix is not None:
      check_prefix(**prefix, frames=self.clip_shape[0], step=self.patch[0])
    flow.sigma_of(jnp.zeros(()), law=law, mode_scale=mode_scale)  # or an error
    self.law, self.mode_scale = law, mode_scale
    self.null_probability, self.stratified = null_probability, stratified
    self.prefix = prefix
    self.align_block = check_align_block(align_block, depth)
    self.steps, self.guidance, self.solver = steps, guidance, solver
    self.shift, self.projected, self.seed = shift, projected, seed
    inner = width if inner_width is None else inner_width
    self.inner_width = inner
    self.conditioning = Conditioning(
      width,
      inner,
      num_tokens=num_tokens,
      tail=tail,
      null=null_probability > 0,
      proportional=proportional,
      dtype=dtype,
      rngs=rngs,
    )
    self.trunk = FlowTrunk(
      self.grid,
      self.num_pixels,
      inner,
      depth=depth,
      num_heads=num_heads,
      max_timestep=max_timestep,
      plane=plane,
      remat=remat,
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(
    self,
    tokens: Tokens,
    *,
    frames: jax.Array | None = None,
    frame_mask: jax.Array | None = None,
    key: jax.Array | None = None,
  ) -> tuple[jax.Array, dict]:
    """Returns frames and aux; see `layers.decoder`.

    Without `frames` it samples, as the constructor says, and aux is {}. With
    them, frames are where a straight path would end from the one point that was
    looked at. `predicted` and `target` are velocities, patch by patch. Aux also
    has both whole, `velocity` and `velocity_target` [B, T, H, W, C]; `sigma`
    [B] float32; and `hidden` [B, P, D] if there is a block to align.

    Raises:
      ValueError: frames without a key, as there is nothing to look at without
        noise.
    """
    if frames is None:
      return self.sample(tokens, key=key, frame_mask=frame_mask), {}
    if key is None:
      raise ValueError("a flow decoder needs a key with frames, to draw noise")
    batch = frames.shape[0]
    mask = self.patch_mask(frame_mask, batch)
    clean = self.real_frames(frames, frame_mask)
    noise = self.noise(key, batch)
    sigma = self._sigma(key, batch)
    levels = jnp.broadcast_to(sigma[:, None], clean.shape[:2])  # [B, T]
    counted = mask
    if self.prefix is not None:
      keys = clip_keys(key, batch, PREFIX)
      shown, low = draw_prefix(keys, self.clip_shape[0], **self.prefix)
      levels = jnp.where(shown, low[:, None], levels)
      counted = mask & self.patch_mask(~shown, batch)
    x = flow.interpolate(clean, noise, levels)
    given = self.conditioning(tokens, dropped=self._dropped(key, batch))
    velocity, hidden = self._velocity(
      x, sigma, given, frame_mask, hidden=self.align_block
    )
    target = flow.true_velocity(clean, noise)
    target = without_masked_frames(target, frame_mask)
    made = flow.clean_estimate(x, velocity, levels)
    aux = {
      "predicted": self.to_patches(velocity),
      "target": self.to_patches(target),
      "mask": counted,
      "velocity": velocity,
      "velocity_target": target,
      "sigma": sigma,
    }
    if hidden is not None:
      aux["hidden"] = hidden
    return without_masked_frames(made, frame_mask), aux

  def sample(
    self,
    tokens: Tokens,
    *,
    key: jax.Array | None = None,
    noise: jax.Array | None = None,
    frame_mask: jax.Array | None = None,
    prefix: jax.Array | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    solver: str | None = None,
  ) -> jax.Array:
    """Returns frames [B, T, H, W, C] float32, a function of all that is given.

    Args:
      tokens: [B, N, width].
      key: of the noise, one key or one a clip; None gives every clip the same
        noise, that of `seed`.
      noise: [B, T, H, W, C] to start from, in place of what a key would draw.
      frame_mask: [B, T] bool or None.
      prefix: [B, L, H, W, C], known first frames, which come out as they are.
      steps: None is the constructor's, and so are the next two.
      guidance: g.
      solver: "euler" or "heun".

    Raises:
      ValueError: guidance without a null token; a prefix too long.
    """
    steps = self.steps if steps is None else steps
    guidance = self.guidance if guidance is None else guidance
    solver = self.solver if solver is None else solver
    batch = tokens.mask.shape[0]
    x = self.noise(key, batch) if noise is None else noise.astype(jnp.float32)
    known = 0 if prefix is None else prefix.shape[1]
    if known > x.shape[1]:
      raise ValueError(f"a prefix has at most {x.shape[1]} frames, got {known}")
    if known:
      x = jnp.concatenate([prefix.astype(jnp.float32), x[:, known:]], axis=1)
    given = self.conditioning(tokens)

    def slope(x, sigma, condition):
      levels = jnp.broadcast_to(sigma, (batch,))
      return self._velocity(x, levels, condition, frame_mask)[0]

    nothing = None if guidance == 1 else self.conditioning.nothing(tokens)
    moving = (jnp.arange(x.shape[1]) >= known)[:, None, None, None]

    def velocity(x, sigma, average):
      v = slope(x, sigma, given)
      if guidance != 1:
        v, average = self._guide(v, slope(x, sigma, nothing), guidance, average)
      return jnp.where(moving, v, 0), average

    x = flow.solve(
      velocity,
      x,
      flow.descent(steps, shift=self.shift),
      solver=solver,
      state=jnp.zeros_like(x) if self.projected is not None else jnp.zeros(()),
    )
    return without_masked_frames(x, frame_mask)

  def noise(self, key: jax.Array | None, batch: int) -> jax.Array:
    """Returns [B, T, H, W, C] float32, standard normal, by clip.

    Args:
      key: one, or [B], or None for the same noise, of `seed`, in all clips.
      batch: B.
    """
    shape = (*self.clip_shape, self.channels)
    if key is None:
      noise = jax.random.normal(jax.random.key(self.seed), shape)
      return jnp.broadcast_to(noise, (batch, *shape))
    draw = jax.vmap(lambda key: jax.random.normal(key, shape))
    return draw(clip_keys(key, batch, NOISE))

  def _guide(self, conditional, unconditional, scale, average):
    pair = conditional, unconditional
    if self.projected is None:
      return classifier_free(*pair, scale), average
    return adaptive_projected(*pair, scale, average, **self.projected)

  def _velocity(self, x, sigma, given, frame_mask, hidden=None):
    """The velocity [B, T, H, W, C], zeros where masked, and `hidden`."""
    mask = self.patch_mask(frame_mask, x.shape[0])
    patches = self.to_patches(x, frame_mask)
    velocity, hidden = self.trunk(patches, sigma, given, mask, hidden=hidden)
    return self.to_frames(velocity, frame_mask), hidden

  def _sigma(self, key, batch):
    u = jax.vmap(jax.random.uniform)(clip_keys(key, batch, SIGMA))
    u = flow.stratify(u) if self.stratified else u
    return flow.sigma_of(u, law=self.law, mode_scale=self.mode_scale)

  def _dropped(self, key, batch):
    if not self.null_probability:
      return None
    u = jax.vmap(jax.random.uniform)(clip_keys(key, batch, NULL))
    return u < self.null_probability
