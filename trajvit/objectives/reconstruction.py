"""Pixels, in the values and in the features of a network, as they were."""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.image_quality import gradient_difference
from trajvit.ops.masked import real_mean, real_pair
from trajvit.ops.perceptual import gram_distance, perceptual_distance
from trajvit.ops.ssim import ssim as structural_similarity
from trajvit.pixels import NORMALIZATIONS, known_normalization
from trajvit.types import Batch


def reconstruction(
  outputs: dict,
  batch: Batch,
  *,
  l1: float = 0.0,
  l2: float = 1.0,
  ssim: float = 0.0,
  gradient: float = 0.0,
  normalization: str = "symmetric",
) -> tuple[jax.Array, dict]:
  """The difference of decoded pixels, or whatever is decoded, from the target.

  l1 |x - y| + l2 (x - y)^2 + ssim (1 - SSIM) + gradient |slopes of x - y|. All
  but SSIM are in the model's normalised pixels: on [-1, 1] an absolute
  difference is 2 times, and a squared one 4 times, that on [0, 1].

  Args:
    outputs: `aux.decoder.predicted` and `target` [B, P, p] float: P patches, or
      points, of p values each, and `mask` [B, P] bool, if some are not real.
      For `ssim` and `gradient` also `frames` and `target_frames` [B, T, H, W,
      3] float.
    batch: `clip.frame_mask` and `valid` say which frames and clips are real;
      what is not does not count.
    l1: weight of the mean absolute difference.
    l2: weight of the mean squared difference.
    ssim: weight of 1 - SSIM, see `ops.ssim`, the mean over frames.
    gradient: weight of `ops.image_quality.gradient_difference`, likewise.
    normalization: of the frames, by which SSIM gets back to [0, 1].

  Returns:
    The loss [], and {"l1", "l2", and where it has a weight "ssim": the mean
    SSIM itself, "gradient"}, all before weighting.

  Raises:
    ValueError: nothing is decoded, whole frames are needed and absent, shapes
      differ, or the weights are negative or all 0.
  """
  weights = {"l1": l1, "l2": l2, "ssim": ssim, "gradient": gradient}
  if min(weights.values()) < 0 or not any(weights.values()):
    raise ValueError(
      f"weights must be at least 0, and one of them positive, got {weights}"
    )
  decoded = _needed(
    "reconstruction", outputs["aux"], "decoder", ("predicted", "target")
  )
  predicted, target = decoded["predicted"], decoded["target"]
  mask = _real(decoded.get("mask"), batch, predicted.shape[:2])
  x, y = real_pair(predicted, target, mask)
  metrics = {
    "l1": real_mean(jnp.abs(x - y), mask),
    "l2": real_mean(jnp.square(x - y), mask),
  }
  loss = l1 * metrics["l1"] + l2 * metrics["l2"]
  if ssim or gradient:
    x, y = _whole_frames(outputs)
    mask = _real(batch.clip.frame_mask, batch, x.shape[:2])
  if ssim:
    name = known_normalization(normalization)
    mean, deviation = np.array(NORMALIZATIONS[name], np.float32)
    alike = structural_similarity(
      x * deviation + mean, y * deviation + mean, mask=mask
    )
    metrics["ssim"] = real_mean(alike, mask)
    # Of what has no real frame nothing is to be said, and the loss is 0.
    loss += ssim * real_mean(1 - alike, mask)
  if gradient:
    metrics["gradient"] = real_mean(gradient_difference(x, y, mask=mask), mask)
    loss += gradient * metrics["gradient"]
  return loss, metrics


def perceptual(
  outputs: dict, batch: Batch, *, features: float = 1.0, gram: float = 0.0
) -> tuple[jax.Array, dict]:
  """The difference of decoded frames in the features of a fixed network.

  Args:
    outputs: `aux.perceptual.predicted` and `target`, lists of maps [B, T, h, w,
      C] float, one a layer, which the model computes; no gradient passes to the
      target. And `weights`, a list of [C], if channels do not count alike.
    batch: `clip.frame_mask` and `valid` say which frames and clips are real.
    features: weight of `ops.perceptual.perceptual_distance`, as in LPIPS.
    gram: weight of `ops.perceptual.gram_distance`, of textures.

  Returns:
    The loss [], and {"features", "gram"}, means over frames before weighting,
    of those that have a weight.

  Raises:
    ValueError: there are no features, layers differ, or the weights are
      negative or both 0.
  """
  if min(features, gram) < 0 or not (features or gram):
    raise ValueError(
      "features and gram must be at least 0, and one of them positive, "
      f"got {features} and {gram}"
    )
  found = _needed(
    "perceptual", outputs["aux"], "perceptual", ("predicted", "target")
  )
  predicted = found["predicted"]
  target = jax.lax.stop_gradient(found["target"])
  mask = _real(batch.clip.frame_mask, batch, predicted[0].shape[:2])
  loss, metrics = 0.0, {}
  if features:
    off = perceptual_distance(
      predicted, target, weights=found.get("weights"), mask=mask
    )
    metrics["features"] = real_mean(off, mask)
    loss += features * metrics["features"]
  if gram:
    off = gram_distance(predicted, target, mask=mask)
    metrics["gram"] = real_mean(off, mask)
    loss += gram * metrics["gram"]
  return loss, metrics


def quantization(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """The sum of the losses of the quantizer, such as its commitment.

  Args:
    outputs: `aux.quantizer.losses`, {name: scalar}, weighted by the quantizer.
    batch: unused.

  Returns:
    The loss [], and {name: each of them}.

  Raises:
    ValueError: the quantizer has no loss, or there is none.
  """
  del batch
  losses = outputs["aux"].get("quantizer", {}).get("losses", {})
  if not losses:
    raise ValueError("quantization needs a quantizer with losses, got none")
  return sum(losses.values()), dict(losses)


def _needed(objective, aux, part, names):
  """`aux[part]`, which must have the `names`."""
  found = aux.get(part, {})
  if any(name not in found for name in names):
    raise ValueError(
      f"{objective} needs {' and '.join(names)} in aux.{part}, "
      f"which has {', '.join(sorted(found)) or 'nothing'}"
    )
  return found


def _whole_frames(outputs):
  """Frames and their target, [B, T, H, W, 3] each."""
  names = ("frames", "target_frames")
  if any(name not in outputs for name in names):
    raise ValueError(
      "ssim and gradient need whole frames: outputs.frames and "
      "outputs.target_frames [B, T, H, W, 3]; a decoder of sampled points or "
      "of flow has none"
    )
  return tuple(outputs[name] for name in names)


def _real(mask, batch, shape):
  """[B, n] bool, False in what is masked and in clips that are padding."""
  real = jnp.ones(shape, bool) if mask is None else mask
  return real if batch.valid is None else real & batch.valid[:, None]
