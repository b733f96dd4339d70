"""Losses of a discriminator, and of what it is to be deceived by.

Logits are maps [B, *], high for real clips; `mask` is over their leading axes,
[B, T] say. Every function is pure; which parameters a gradient is taken of is
up to the training step, and so are all weights.
"""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trajvit.ops.masked import only_real, real_mean


class Adversarial(NamedTuple):
  """The two sides of a game.

  Attributes:
    discriminator: `(real, fake, *, mask=None) -> loss`.
    generator: `(fake, *, mask=None) -> loss`.
  """

  discriminator: Callable
  generator: Callable


def hinge_discriminator(
  real: jax.Array, fake: jax.Array, *, mask: jax.Array | None = None
) -> jax.Array:
  """Returns half of mean relu(1 - D(x)) + mean relu(1 + D(x')), a scalar.

  Source: arXiv:1705.02894; the half as in VQGAN, arXiv:2012.09841.

  Args:
    real: [B, *] float, D of real clips.
    fake: likewise, of generated ones.
    mask: over leading axes of both, True = real frame; None: all are.
  """
  on_real = real_mean(jax.nn.relu(1 - _logits(real, mask)), mask)
  return (on_real + real_mean(jax.nn.relu(1 + _logits(fake, mask)), mask)) / 2


def hinge_generator(
  fake: jax.Array, *, mask: jax.Array | None = None
) -> jax.Array:
  """Returns - mean D(x'), a scalar; arguments as of the discriminator's."""
  return -real_mean(_logits(fake, mask), mask)


def non_saturating_discriminator(
  real: jax.Array,
  fake: jax.Array,
  *,
  mask: jax.Array | None = None,
  smoothing: float | jax.Array = 0.0,
) -> jax.Array:
  """Returns half of the two mean cross-entropies, a scalar.

  Of real clips - (1 - s) log p - s log(1 - p), of generated ones - log(1 - p),
  p = sigmoid(D). Source: arXiv:1406.2661; labels of real clips alone are smooth
  (arXiv:1606.03498). The half keeps it on the scale of the hinge loss.

  Args:
    real: [B, *] float, D of real clips.
    fake: likewise, of generated ones.
    mask: over leading axes of both, True = real frame; None: all are.
    smoothing: s in [0, 1), a number or one for each entry of `real`, such as
      `label_noise` draws.
  """
  real, fake = _logits(real, mask), _logits(fake, mask)
  on_real = (1 - smoothing) * jax.nn.softplus(-real)
  on_real += smoothing * jax.nn.softplus(real)
  return (real_mean(on_real, mask) + real_mean(jax.nn.softplus(fake), mask)) / 2


def non_saturating_generator(
  fake: jax.Array, *, mask: jax.Array | None = None
) -> jax.Array:
  """Returns - mean log p(x'), a scalar; arguments as of the discriminator's."""
  return real_mean(jax.nn.softplus(-_logits(fake, mask)), mask)


ADVERSARIAL = {
  "hinge": Adversarial(hinge_discriminator, hinge_generator),
  "non_saturating": Adversarial(
    non_saturating_discriminator, non_saturating_generator
  ),
}


def label_noise(
  key: jax.Array,
  shape: tuple[int, ...],
  *,
  scale: float = 0.15,
  largest: float = 0.3,
) -> jax.Array:
  """Returns random smoothings min(scale |n|, largest), n normal, as in LARP.

  Source: arXiv:2410.21264.

  Args:
    key: of the draw.
    shape: of the logits.
    scale: of |n|.
    largest: value.

  Returns:
    `shape` float32 in [0, largest].
  """
  return jnp.minimum(scale * jnp.abs(jax.random.normal(key, shape)), largest)


def r1_penalty(
  discriminator: Callable[[jax.Array], jax.Array],
  real: jax.Array,
  *,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns the mean over clips of |gradient of D at a real clip|^2, a scalar.

  D of a clip is the mean over its map of logits, so that the penalty does not
  grow with the map. Source: arXiv:1801.04406, who weigh it by gamma / 2.

  Args:
    discriminator: frames -> logits [B, *], no clip's depending on another clip.
    real: [B, T, H, W, C] float frames.
    mask: [B, T] bool, over leading axes of frames and of logits, True = real
      frame; None: all are. A clip without any does not count.
  """

  def clips(frames):
    logits = _logits(discriminator(frames), mask)
    if mask is None:
      return logits.reshape(len(logits), -1).mean(1).sum()
    return jax.vmap(real_mean)(logits, mask).sum()

  slope = only_real(jax.grad(clips)(only_real(real, mask)), mask)
  steepness = jnp.square(slope).sum(tuple(range(1, slope.ndim)))
  if mask is None:
    return steepness.mean()
  return real_mean(steepness, mask.any(tuple(range(1, mask.ndim))))


def lecam(
  real: jax.Array,
  fake: jax.Array,
  anchors: dict[str, jax.Array],
  *,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns LeCam's regularisation of a discriminator, unweighted, a scalar.

  mean relu(D(x) - a')^2 + mean relu(a - D(x'))^2, a and a' moving averages of D
  over real and generated clips: logits are held from running away from the
  other side's. Source: arXiv:2104.03310, with the relu of its released code.

  Args:
    real: [B, *] float, D of real clips.
    fake: likewise, of generated ones.
    anchors: {"real": a, "fake": a'}, both [], constants to the gradient.
    mask: over leading axes of both, True = real frame; None: all are.
  """
  anchors = jax.lax.stop_gradient(anchors)
  above = jax.nn.relu(_logits(real, mask) - anchors["fake"])
  below = jax.nn.relu(anchors["real"] - _logits(fake, mask))
  return real_mean(jnp.square(above), mask) + real_mean(jnp.square(below), mask)


def lecam_anchors(
  anchors: dict[str, jax.Array],
  real: jax.Array,
  fake: jax.Array,
  *,
  decay: float = 0.999,
  mask: jax.Array | None = None,
) -> dict[str, jax.Array]:
  """Returns the next moving averages, decay * old + (1 - decay) * mean logit.

  They begin as zeros. Arguments as of `lecam`; no gradient passes.
  """
  means = {
    "real": real_mean(_logits(real, mask), mask),
    "fake": real_mean(_logits(fake, mask), mask),
  }
  moved = jax.tree.map(
    lambda old, new: decay * old + (1 - decay) * new, dict(anchors), means
  )
  return jax.lax.stop_gradient(moved)


def adaptive_weight(
  reconstruction, adversarial, *, largest: float = 1e4
) -> jax.Array:
  """Returns the weight that makes the generator's two gradients alike, [].

  min(|g_rec| / (|g_adv| + 1e-4), largest), a constant to the gradient. Source:
  VQGAN, arXiv:2012.09841.

  Args:
    reconstruction: pytree of the gradient of the reconstruction loss, of the
      last layer's parameters.
    adversarial: likewise, of the generator's adversarial loss.
    largest: value.
  """
  ratio = _norm(reconstruction) / (_norm(adversarial) + 1e-4)
  return jax.lax.stop_gradient(jnp.minimum(ratio, largest))


def ramp(step: jax.Array, *, start: int, length: int = 0) -> jax.Array:
  """Returns the share [] of the adversarial weight that a step has.

  0 before `start`, then in equal steps up to 1 at `start + length`.

  Args:
    step: [] integer.
    start: the step at which it leaves 0; with `length` 0 it is 1 from there on.
    length: steps.

  Raises:
    ValueError: `start` or `length` is negative.
  """
  if start < 0 or length < 0:
    raise ValueError(
      f"start and length must be at least 0, got {start} and {length}"
    )
  since = jnp.asarray(step - start, jnp.float32)
  if not length:
    return (since >= 0).astype(jnp.float32)
  return jnp.clip(since / length, 0, 1)


def _logits(logits, mask):
  return only_real(logits.astype(jnp.float32), mask)


def _norm(tree):
  squares = jax.tree.map(
    lambda x: jnp.square(x.astype(jnp.float32)).sum(), tree
  )
  return jnp.sqrt(jax.tree.reduce(operator.add, squares, 0.0))
