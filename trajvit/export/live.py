"""Encoders that run the model itself: of a run, or of an export's weights."""

from pathlib import Path

import jax
from flax import nnx

from trajvit.export.compact import compact
from trajvit.export.encoder import Encoder
from trajvit.export.programs import flat_weights, model_programs
from trajvit.export.safetensors import check_arrays
from trajvit.export.write import preprocessing, trained
from trajvit.training.config import read_config
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun, builder, restore_run


def encoder_of_run(run: str | Path | RestoredRun) -> Encoder:
  """Returns the encoder of a run, or of the newest checkpoint in its directory.

  Raises:
    FileNotFoundError: no run, or no checkpoint in it.
    ValueError: its model encodes nothing.
  """
  if not isinstance(run, RestoredRun):
    run = restore_run(run)
  model = nnx.eval_shape(run.build)
  clip = preprocessing(run, model)
  weights = flat_weights(run.variables)
  return Encoder(trained(run), clip, weights, _compiled(model, clip))


def programs_of_export(
  path: Path, config: dict, clip: dict, weights: dict
) -> dict:
  """Returns the programs of an export whose own are not there.

  Args:
    path: of the export, for messages.
    config: what config.json holds.
    clip: what preprocessor_config.json holds.
    weights: arrays by name.

  Raises:
    ValueError: the weights are not those of the model.
  """
  build = builder(read_config(config["training"]), config["model_context"])
  if config.get("quantization"):
    build = compact(build, config["quantization"]["name"])
  init, _ = functional(build)
  check_arrays(
    weights, flat_weights(jax.eval_shape(init)), f"{path}: the model"
  )
  return _compiled(nnx.eval_shape(build), clip)


def _compiled(model, clip):
  return {
    name: jax.jit(program.call)
    for name, program in model_programs(model, clip).items()
  }
