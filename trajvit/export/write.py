"""Writes a trained encoder as a folder in the layout of the Hugging Face Hub.

OUT/README.md                 the model card
    config.json               what was trained and how the export was made
    preprocessor_config.json  what the programs expect of a clip and a caption
    vocabulary.*, merges.*    files of the text tokenizer, if it has any
    model.safetensors         weights, "params/..." and "batch_stats/..."
    encode.*                  (weights, frames[, tracks]) -> embedding, or for a
                              connector {"features", "mask"}
    tokenize.*                (weights, frames[, tracks]) -> tokens
    encode_text.*             (weights, ids, mask) -> embedding
    parity.json               how far the programs are from the model

The programs are there once for each target, see `targets`.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import safetensors.numpy
from flax import nnx

import trajvit
from trajvit.data.augment import Augment
from trajvit.data.example import ClipSpec
from trajvit.export.about import About
from trajvit.export.accuracy import check_accuracy
from trajvit.export.card import model_card
from trajvit.export.directory import new_directory
from trajvit.export.load import CONFIG, FORMAT, PREPROCESSING, WEIGHTS
from trajvit.export.parity import TOLERANCES, check_parity
from trajvit.export.programs import (
  any_frames,
  flat_weights,
  model_programs,
)
from trajvit.export.quantize import quantized
from trajvit.export.targets import TARGETS, preprocessing_of
from trajvit.training import provenance
from trajvit.training.config import plain_values
from trajvit.training.provenance import write_json
from trajvit.training.restore import RestoredRun
from trajvit.training.vocabulary import keep_files

PLATFORMS = ("cpu", "cuda", "tpu")
PARITY, CARD = "parity.json", "README.md"


def export_run(
  run: RestoredRun,
  out: str | Path,
  *,
  targets: Sequence[str] = ("stablehlo",),
  platforms: Sequence[str] = PLATFORMS,
  overwrite: bool = False,
  about: About | None = None,
  quantize: str | None = None,
  evaluate: bool = True,
) -> tuple[dict, dict]:
  """Writes an export, after it was found equal to the model.

  Args:
    run: a trained model.
    out: the directory to make.
    targets: names in TARGETS, at least one.
    platforms: to lower the programs for; "cpu" must be among them, since
      parity is checked there.
    overwrite: replace an export that is there.
    about: what the model card tells of the run; None is that it is called as
      the directory.
    quantize: a name in `compact.FORMS`: kernels are kept so, and what that has
      cost is measured, see `accuracy`. None leaves the weights as they are.
    evaluate: of a quantised export, whether to run the evaluations of the run.

  Returns:
    What config.json and parity.json hold.

  Raises:
    ValueError: `out` exists, an unknown target or platform, the export differs
      from the model, or it is too far from the model before it was quantised;
      nothing is left behind then.
    FileNotFoundError: a file of the text tokenizer, likewise.
    ImportError: a library that is needed is not there.
  """
  unknown = sorted(set(platforms) - set(PLATFORMS))
  if unknown or "cpu" not in platforms:
    raise ValueError(
      f"platforms must be cpu, where parity is checked, and any others of "
      f"{', '.join(PLATFORMS)}; got {', '.join(platforms)}"
    )
  if quantize == "bfloat16" and "onnx" in targets:
    raise ValueError(
      "programs of onnx compute in float32: bfloat16 makes them no smaller, "
      "int8 does"
    )
  whole, run = run, quantized(run, quantize) if quantize else run
  rounding = TOLERANCES[run.config.model.get("dtype", "float32")]
  tolerances = {
    target: max(rounding, TARGETS[target].TOLERANCE) for target in targets
  }
  if not tolerances:
    raise ValueError(f"targets must be some of {', '.join(TARGETS)}, got none")
  with new_directory(out, overwrite=overwrite, marker=PARITY) as directory:
    model = nnx.eval_shape(run.build)
    clip = _write_preprocessing(run, model, directory)
    config = _write(run, model, clip, directory, targets, platforms)
    parity = check_parity(
      directory, model, run.variables, tolerances=tolerances
    )
    if quantize:
      lost = check_accuracy(directory, whole, targets, evaluate=evaluate)
      parity = {name: parity[name] | {"accuracy": lost[name]} for name in lost}
    write_json(directory / PARITY, parity)
    about = about or About(name=Path(out).name)
    card = model_card(config, clip, parity, about)
    (directory / CARD).write_text(card, encoding="utf-8")
  return config, parity


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
  clip = {
    "frames": spec.frames,  # of a file; for arrays see any_frames
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
  return clip | {"any_frames": any_frames(model, clip)}


def trained(run: RestoredRun) -> dict:
  """Returns what an encoder tells of the run that it comes from."""
  return {
    "model": run.config.model,
    "clip": run.config.data["clip"],
    "text": run.config.data.get("text"),
    "step": run.step,
    "ema": run.ema,
    "model_context": run.meta["model_context"],
    "quantization": run.meta.get("quantization"),
    "training": plain_values(run.config),
  }


def _write_preprocessing(run, model, directory) -> dict:
  """Writes preprocessor_config.json with what it names, and returns it."""
  clip = preprocessing(run, model)
  if clip["text"] is not None:
    clip["text"]["tokenizer"] = keep_files(clip["text"]["tokenizer"], directory)
  write_json(directory / PREPROCESSING, clip)
  return clip


def _write(run, model, clip, directory, targets, platforms) -> dict:
  """Writes weights, programs and config.json, and returns the latter."""
  weights = flat_weights(jax.device_get(run.variables))
  (directory / WEIGHTS).write_bytes(safetensors.numpy.save(weights))
  config = {
    "format": FORMAT,
    **trained(run),
    "programs": {
      target: TARGETS[target].write(
        directory,
        model_programs(
          model, preprocessing_of(target, clip), TARGETS[target].ATTENTION
        ),
        weights,
        platforms=platforms,
      )
      for target in targets
    },
    "versions": {"trajvit": trajvit.__version__, **provenance.versions()},
    "commit": run.meta.get("commit"),
  }
  write_json(directory / CONFIG, config)
  return config
