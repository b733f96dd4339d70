"""What an encoder can be exported to: a module for each target.

A target has

- `write(directory, programs, weights, *, platforms) -> signatures`, which puts
  files into the directory. `programs` are by name, `weights` the arrays by
  name that they are called with, `platforms` those of jax to lower for. A
  signature is plain: `file`, the `inputs` and `outputs` of
  `Program.signature`, and what else `load` wants to know; they become
  `config["programs"][target]`.
- `load(directory, config, weights) -> calls`, which reads them back without
  Flax: name -> `(weights, *inputs) -> outputs`. A file that is damaged or does
  not fit is a ValueError with its name.
- `ANY_FRAMES`, whether sizes of a program's inputs may be symbolic, see
  `Program.inputs`; else it gets programs for the run's number of frames.
- `ATTENTION`, the implementation that its programs are traced with.
- `usage(signatures) -> code`, which runs the first of the programs without
  trajvit, for the model card: `directory` is given, and inputs by their names.
- `TOLERANCE`, how far it may be from a float32 model: `parity` adds what the
  dtype of the model allows.

What a target needs beyond jax and NumPy is imported when it is called. `load`
takes the first of the table whose files are there.
"""

from trajvit.export.frames import with_fixed_frames
from trajvit.export.targets import onnx, stablehlo
from trajvit.table import Table

TARGETS = Table("export target", {"stablehlo": stablehlo, "onnx": onnx})


def preprocessing_of(target: str, preprocessing: dict) -> dict:
  """Returns the preprocessing of the programs of a target, of an export's."""
  if TARGETS[target].ANY_FRAMES:
    return preprocessing
  reason = f"programs of {target} have the number in them"
  return with_fixed_frames(preprocessing, reason)
