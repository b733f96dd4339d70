"""Writes a trained encoder as files that need no Flax, no Orbax, no config.

OUT/config.json          what was trained and how the export was made
    preprocessing.json   what the programs expect of a clip and a caption
    model.safetensors    weights, "params/..." and "batch_stats/..."
    encode.stablehlo     (weights, frames[, tracks]) -> embedding, or for a
                         connector {"features", "mask"}
    tokenize.stablehlo   (weights, frames[, tracks]) -> tokens
    encode_text.stablehlo  (weights, ids, mask) -> embedding
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import safetensors.numpy
from flax import nnx

import trajvit
from trajvit.data.augment import Augment
from trajvit.data.example import ClipSpec
from trajvit.export.directory import new_directory
from trajvit.export.load import FORMAT
from trajvit.export.parity import TOLERANCES, check_parity
from trajvit.export.programs import (
  PLATFORMS,
  export_program,
  flat_weights,
  model_programs,
  signature,
)
from trajvit.training import provenance
from trajvit.training.config import plain_values
from trajvit.training.provenance import write_json
from trajvit.training.restore import RestoredRun


def export_run(
  run: RestoredRun,
  out: str | Path,
  *,
  platforms: Sequence[str] = PLATFORMS,
  overwrite: bool = False,
) -> dict:
  """Writes an export, after it was found equal to the model.

  Args:
    run: a trained model.
    out: the directory to make.
    platforms: to lower the programs for; "cpu" must be among them, since
      parity is checked there.
    overwrite: replace an export that is there.

  Returns:
    What config.json holds.

  Raises:
    ValueError: `out` exists, an unknown platform, or the export differs from
      the model; nothing is left behind then.
  """
  unknown = sorted(set(platforms) - set(PLATFORMS))
  if unknown or "cpu" not in platforms:
    raise ValueError(
      f"platforms must be cpu, where parity is checked, and any others of "
      f"{', '.join(PLATFORMS)}; got {', '.join(platforms)}"
    )
  with new_directory(
    out, overwrite=overwrite, marker="preprocessing.json"
  ) as directory:
    model = nnx.eval_shape(run.build)
    config = _write(run, model, directory, platforms)
    config["parity"] = check_parity(
      directory,
      model,
      run.variables,
      tolerance=TOLERANCES[run.config.model.get("dtype", "float32")],
    )
    write_json(directory / "config.json", config)
  return config


def preprocessing(run: RestoredRun, model: nnx.Module) -> dict:
  """Returns what the programs expect of a clip and of a caption."""
  spec = ClipSpec(**run.config.data["clip"])
  tracks = text = None
  reader = getattr(model, "tokenizer", model)
  if getattr(reader, "needs_tracks", False):
    tracks = {
      "dtype": "int32",
      "layout": "BTHW",
      "grid": spec.track_grid,
      "max_tracks": spec.max_tracks,
      "no_track": -1,
    }
  # A converted run may have a text tower and know no tokenizer for it.
  if hasattr(model, "encode_text") and "text" in run.config.data:
    text = {
      "tokenizer": run.config.data["text"],
      "length": run.meta["model_context"]["text_length"],
      "vocab_size": run.meta["model_context"]["vocab_size"],
    }
  return {
    "frames": spec.frames,
    "size": spec.size,
    "dtype": "uint8",
    "range": [0, 255],
    "channels": "RGB",
    "layout": "BTHWC",
    "normalization": "inside the programs",
    "sampler": spec.sampler,  # without chance, as in an evaluation
    "view": Augment(spec).view_name,  # without chance, as in an evaluation
    "tracks": tracks,
    "text": text,
  }


def trained(run: RestoredRun) -> dict:
  """Returns what an encoder tells of the run that it comes from."""
  return {
    "model": run.config.model,
    "clip": run.config.data["clip"],
    "text": run.config.data.get("text"),
    "step": run.step,
    "ema": run.ema,
    "training": plain_values(run.config),
  }


def _write(run, model, directory, platforms) -> dict:
  """Writes all files and returns config.json, which still lacks parity."""
  clip = preprocessing(run, model)
  write_json(directory / "preprocessing.json", clip)
  weights = flat_weights(jax.device_get(run.variables))
  (directory / "model.safetensors").write_bytes(safetensors.numpy.save(weights))
  programs = {}
  for name, program in model_programs(model, clip).items():
    exported = export_program(program, model, weights, platforms)
    file = f"{name}.stablehlo"
    (directory / file).write_bytes(exported.serialize())
    programs[name] = {"file": file, **signature(program, exported)}
  config = {
    "format": FORMAT,
    **trained(run),
    "programs": programs,
    "versions": {"trajvit": trajvit.__version__, **provenance.versions()},
    "commit": run.meta.get("commit"),
  }
  write_json(directory / "config.json", config)
  return config
