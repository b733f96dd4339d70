"""An encoder out of a run directory, as it would be exported."""

from pathlib import Path

import jax
from flax import nnx

from trajvit.export.encoder import Encoder
from trajvit.export.programs import flat_weights, model_programs, on_weights
from trajvit.export.write import preprocessing, trained
from trajvit.training.restore import RestoredRun, restore_run


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
  programs = {
    name: jax.jit(on_weights(program, model))
    for name, program in model_programs(model, clip).items()
  }
  return Encoder(trained(run), clip, weights, programs)
