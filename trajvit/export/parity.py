"""Whether an export computes what the model computes: measured, not assumed."""

from pathlib import Path

import jax
import numpy as np
from flax import nnx

from trajvit.export.frames import with_frames
from trajvit.export.load import load
from trajvit.types import Clip, Text

BATCH_SIZES = (1, 5)
# Largest absolute difference, by the dtype that the model computes in.
TOLERANCES = {"float32": 1e-5, "bfloat16": 2e-2}


def check_parity(
  path: str | Path,
  model: nnx.Module,
  variables: dict,
  *,
  tolerances: dict[str, float],
) -> dict[str, dict]:
  """Compares an export, read back from its files, with the model.

  Both run on the CPU, whose float32 is float32: accelerators may round products
  to fewer bits, and not the same way in two programs.

  Args:
    path: directory of the export.
    model: its structure; what its arrays hold is not read.
    variables: {"params", "batch_stats"} of the model.
    tolerances: target -> largest difference allowed.

  Returns:
    Of each target `tolerance`, `device`, and `max_abs_difference`
    {program: {batch size: ...}} over random clips and captions. Where clips may
    have other numbers of frames two of these are compared as well, for one
    clip each, as "1, 8 frames".

  Raises:
    ValueError: a difference is above the tolerance, or not a number.
  """
  with jax.default_device(jax.local_devices(backend="cpu")[0]):
    variables = jax.device_get(variables)
    reference = _reference(model)
    return {
      target: _report(load(path, target), target, reference, variables, allowed)
      for target, allowed in tolerances.items()
    }


def _report(encoder, target, reference, variables, tolerance) -> dict:
  """How far the programs of one target are from the model."""
  differences = {}
  for case, batch, preprocessing in _cases(encoder.preprocessing):
    clip, text = random_inputs(batch, preprocessing)
    expected = reference(variables, clip, text)
    for name in encoder.config["programs"][target]:
      if name != "encode_text":
        got = getattr(encoder, name)(clip.frames, clip.tracks)
      elif text is not None:
        got = encoder.encode_text(text.ids, text.mask)
      else:
        continue
      found = differences.setdefault(name, {})
      found[case] = largest_difference(expected[name], got)
  within = [
    x <= tolerance for found in differences.values() for x in found.values()
  ]
  if not all(within):  # a NaN is within nothing
    raise ValueError(
      f"the export differs from the model by more than {tolerance}: "
      f"{target}, {differences}"
    )
  return {
    "tolerance": tolerance,
    "device": "cpu",
    "max_abs_difference": differences,
  }


def _cases(preprocessing):
  """Name, batch size and preprocessing of all that is compared."""
  for batch in BATCH_SIZES:
    yield str(batch), batch, preprocessing
  step = preprocessing["any_frames"].get("multiple_of")
  if step is not None:
    known = preprocessing["frames"]
    counts = [n for n in (step, known + step, known + 2 * step) if n != known]
    for frames in counts[:2]:
      clip = with_frames(preprocessing, frames) | {"text": None}
      yield f"1, {frames} frames", 1, clip


def _reference(model):
  """The model's own methods, compiled as for training: no export involved."""
  graphdef, *_ = nnx.split(model, nnx.Param, nnx.BatchStat)

  @jax.jit
  def run(variables, clip, text):
    model = nnx.merge(graphdef, variables["params"], variables["batch_stats"])
    outputs = {}
    if hasattr(model, "encode_video"):
      outputs["encode"] = model.encode_video(clip)
    if hasattr(model, "tokenize"):
      outputs["tokenize"] = model.tokenize(clip)
    if text is not None:
      outputs["encode_text"] = model.encode_text(text)
    return outputs

  return run


def random_inputs(
  batch: int, preprocessing: dict, seed: int = 0
) -> tuple[Clip, Text | None]:
  """Returns random clips and captions, in every way that an encoder reads them.

  Args:
    batch: how many.
    preprocessing: of the encoder.
    seed: of the numbers.
  """
  rng = np.random.default_rng((seed, batch))
  frames, size = preprocessing["frames"], preprocessing["size"]
  clip = rng.integers(0, 256, (batch, frames, size, size, 3), dtype=np.uint8)
  tracks = text = None
  if preprocessing["tracks"] is not None:
    grid = preprocessing["tracks"]["grid"]
    count = preprocessing["tracks"]["max_tracks"]
    shape = (batch, frames, grid, grid)
    tracks = rng.integers(-1, count, shape, dtype=np.int32)
  if preprocessing["text"] is not None:
    length = preprocessing["text"]["length"]
    words = rng.integers(1, length + 1, (batch, 1))
    mask = np.arange(length) < words
    count = preprocessing["text"]["vocab_size"]
    ids = rng.integers(0, count, (batch, length), dtype=np.int32)
    text = Text(np.where(mask, ids, 0), mask)
  return Clip(clip, tracks=tracks), text


def largest_difference(expected, got) -> float:
  """Returns the largest absolute difference of two trees of arrays."""
  pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True)
  return max(
    float(np.abs(np.asarray(a, np.float32) - np.asarray(b, np.float32)).max())
    for a, b in pairs
  )
