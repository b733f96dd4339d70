"""A discriminator beside an autoencoder, and what both sides are to lower."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.models.discriminator import Discriminator
from trajvit.ops.adversarial import (
  ADVERSARIAL,
  lecam,
  lecam_anchors,
  r1_penalty,
)
from trajvit.ops.masked import only_real, real_mean

ANCHORS = ("real", "fake")


class Adversary(nnx.Module):
  """Tells clips from those that a decoder made, while both are trained.

  It is a part of the model, so that its parameters are sharded, averaged, saved
  and resumed as all others are, and one update moves both sides. What keeps the
  sides apart is here: the losses of the discriminator see the made frames as
  constants, and the loss of the generator has a gradient by the made frames
  alone. That gradient is computed once, on the way forward: its length is known
  before the losses are weighed, and the way back does not run the discriminator
  for it again.

  Args:
    widths: of the `Discriminator`.
    loss: "hinge" or "non_saturating", see `ops.adversarial`.
    r1: gamma of the penalty gamma / 2 |gradient at real clips|^2; 0 has none.
      It costs a second derivative of the discriminator.
    lecam: weight of LeCam's regularisation; 0 has none.
    decay: of the moving averages that LeCam holds the logits to.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown loss, or a negative weight.
  """

  def __init__(
    self,
    *,
    widths: Sequence[int] = (32, 64, 128),
    loss: str = "hinge",
    r1: float = 0.0,
    lecam: float = 0.001,
    decay: float = 0.999,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if loss not in ADVERSARIAL:
      raise ValueError(
        f"loss must be one of {', '.join(ADVERSARIAL)}, got {loss!r}"
      )
    if min(r1, lecam) < 0:
      raise ValueError(f"r1 and lecam must be at least 0, got {r1} and {lecam}")
    self.loss, self.r1, self.lecam, self.decay = loss, r1, lecam, decay
    self.discriminator = Discriminator(widths=widths, dtype=dtype, rngs=rngs)
    zeros = {name: nnx.BatchStat(jnp.zeros(())) for name in ANCHORS}
    self.anchors = nnx.Dict(**zeros) if lecam else None

  def __call__(
    self, made: jax.Array, real: jax.Array, mask: jax.Array | None = None
  ) -> dict:
    """Returns the losses of both sides, scalars, for `objectives.adversarial`.

    Args:
      made: [B, T, H, W, 3] float, frames as they were decoded.
      real: likewise, as they are.
      mask: [B, T] bool, True = real frame; None: all are. Others are not read.

    Returns:
      losses: of the discriminator, weighted: `discriminator`, and `lecam` and
        `r1` where these are on. Their gradient is by its parameters alone.
      generator: its gradient is by `made` alone.
      slope: the norm of that gradient, a constant.
      logits: {"real", "fake"}, their means.
      batch_stats: the next anchors, with LeCam.
    """
    made, real = only_real(made, mask), only_real(real, mask)
    side = ADVERSARIAL[self.loss]

    def deceive(frames):
      logits = self.discriminator(frames, mask)
      return side.generator(logits, mask=mask), logits

    deceiving = jax.value_and_grad(deceive, has_aux=True)
    (loss, fake), slope = deceiving(jax.lax.stop_gradient(made))
    logits = {"real": self.discriminator(real, mask), "fake": fake}
    losses = {"discriminator": side.discriminator(**logits, mask=mask)}
    told = {}
    if self.lecam:
      anchors = {name: self.anchors[name][...] for name in ANCHORS}
      losses["lecam"] = self.lecam * lecam(**logits, anchors=anchors, mask=mask)
      moved = lecam_anchors(anchors, **logits, decay=self.decay, mask=mask)
      told["batch_stats"] = {"anchors": moved}
    if self.r1:
      penalty = r1_penalty(
        lambda frames: self.discriminator(frames, mask), real, mask=mask
      )
      losses["r1"] = self.r1 / 2 * penalty
    means = {name: real_mean(x, mask) for name, x in logits.items()}
    return told | {
      "losses": losses,
      "generator": _with_gradient(loss, made, slope),
      "slope": jax.lax.stop_gradient(jnp.sqrt(jnp.square(slope).sum())),
      "logits": jax.lax.stop_gradient(means),
    }


def _with_gradient(value, x, slope):
  """`value`, its gradient by `x` being `slope`, and by all else none."""
  value, slope, fixed = jax.lax.stop_gradient((value, slope, x))
  return value + (slope * (x - fixed)).sum()
