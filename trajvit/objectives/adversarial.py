"""Both sides of a decoder that is trained against a discriminator."""

import jax
import jax.numpy as jnp

from trajvit.objectives.reconstruction import reconstruction
from trajvit.ops.adversarial import adaptive_weight, ramp
from trajvit.types import Batch


def adversarial(
  outputs: dict,
  batch: Batch,
  *,
  generator: float = 0.1,
  start: int = 0,
  ramp_steps: int = 0,
  adaptive: dict | None = None,
) -> tuple[jax.Array, dict]:
  """The discriminator's losses, and a weight times the generator's.

  Each has a gradient on its own side alone (`models.adversary`), so that one
  sum trains both. Up to `start` it is 0 and so are its gradients. Then the
  discriminator learns, and the weight of the generator's loss grows along a
  line, over `ramp_steps`, to `generator`.

  With `adaptive` that weight is also multiplied by |g_rec| / (|g_adv| + 1e-4),
  as in VQGAN (arXiv:2012.09841), at most 1e4. Both are norms of the gradient of
  a loss by the decoded frames, where VQGAN takes the parameters of the last
  layer: neither needs a pass through the decoder, and g_adv, by which the
  decoder learns anyway, costs nothing. g_rec is of pixels alone, without a
  perceptual loss; of a flow decoder it would be by velocities.

  Args:
    outputs: `aux.adversarial` of `models.adversary` and `step` [], of the
      training step; with `adaptive` also what `reconstruction` reads.
    batch: with `adaptive`, as for `reconstruction`.
    generator: weight of the generator's loss; that of the discriminator's is 1.
    start: the first step at which there is a loss.
    ramp_steps: how long the generator's weight grows.
    adaptive: `l1` and `l2`, as `reconstruction` has them times its weight: the
      loss that g_rec is of. None leaves the weight as it is.

  Returns:
    The loss [], and {"weight": that of the generator's loss at this step,
    "generator": it, "real" and "fake": mean logits, and the discriminator's
    losses by name, before `start` too}.

  Raises:
    ValueError: the model has no discriminator, nobody tells the step, a
      negative weight, or `adaptive` has other keys.
  """
  if "adversarial" not in outputs["aux"]:
    raise ValueError(
      "adversarial needs a model with a discriminator, in training: aux has "
      f"{', '.join(sorted(outputs['aux'])) or 'nothing'}"
    )
  if "step" not in outputs:
    raise ValueError("adversarial needs outputs.step [], got none")
  if generator < 0:
    raise ValueError(f"generator must be at least 0, got {generator}")
  found, step = outputs["aux"]["adversarial"], outputs["step"]
  weight = generator * ramp(step, start=start, length=ramp_steps)
  if adaptive is not None:
    slope = _slope(outputs, batch, adaptive)
    weight *= adaptive_weight(slope, found["slope"])
  losses = found["losses"]
  learning = ramp(step, start=start)
  loss = learning * sum(losses.values()) + weight * found["generator"]
  metrics = {"weight": weight, "generator": found["generator"]}
  return loss, metrics | losses | found["logits"]


def _slope(outputs, batch, weights):
  """The gradient of the pixels' loss by what was decoded."""
  if not weights or set(weights) - {"l1", "l2"}:
    raise ValueError(
      f"adaptive must have weights of l1 and l2, got {dict(weights)}"
    )
  decoded = outputs["aux"]["decoder"]
  weights = {"l2": 0.0} | dict(weights)

  def loss(predicted):
    aux = {"decoder": decoded | {"predicted": predicted}}
    return reconstruction({"aux": aux}, batch, **weights)[0]

  slope = jax.grad(loss)(jax.lax.stop_gradient(decoded["predicted"]))
  return jnp.asarray(slope, jnp.float32)
