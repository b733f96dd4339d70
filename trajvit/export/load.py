"""Finds what is in a directory, and loads the encoder in it.

An export needs jax and numpy, and no Flax; a run directory needs what trained
it.
"""

import importlib
import json
import struct
from pathlib import Path

import jax
import jax.export

from trajvit.export import safetensors
from trajvit.export.encoder import Encoder

FORMAT = 1


def load(path: str | Path) -> Encoder:
  """Returns the encoder in a directory.

  Args:
    path: what `trajvit export` wrote; or a run, of which the newest checkpoint
      is taken.

  Raises:
    FileNotFoundError: `path` is neither, or a run without a checkpoint.
    ValueError: another format, programs from a newer jax, files that are
      damaged or do not fit together, or a run whose model encodes nothing.
  """
  path = Path(path)
  if (path / "preprocessing.json").is_file():
    return load_export(path)
  if (path / "config.json").is_file():
    return importlib.import_module("trajvit.export.live").encoder_of_run(path)
  raise FileNotFoundError(
    f"{path} is no export and no run: it has no preprocessing.json and no "
    "config.json"
  )


def load_export(path: Path) -> Encoder:
  """Returns the encoder that `trajvit export` wrote to `path`; see `load`."""
  config = _read_json(path / "config.json")
  preprocessing = _read_json(path / "preprocessing.json")
  if config["format"] != FORMAT:
    raise ValueError(f"{path} has format {config['format']}, expected {FORMAT}")
  weights = safetensors.read(path / "model.safetensors")
  programs = {}
  for name, signature in config["programs"].items():
    file = path / signature["file"]
    program = _read_program(file, config["versions"]["jax"])
    _check_weights(file, program, weights)
    programs[name] = jax.jit(program.call)
  return Encoder(config, preprocessing, weights, programs)


def _read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))


def _read_program(file, version):
  """The program in `file`, which jax `version` wrote."""
  try:
    program = jax.export.deserialize(bytearray(file.read_bytes()))
    # Parses the program, which otherwise happens at the first call only.
    program.mlir_module()
  except (struct.error, ValueError, jax.errors.JaxRuntimeError) as error:
    raise ValueError(
      f"{file} cannot be read by jax {jax.__version__}: it was written by jax "
      f"{version}, and may need that or a newer one, or be damaged"
    ) from error
  return program


def _check_weights(file, program, weights):
  """Raises ValueError unless the program takes just these weights."""
  (expected, *_), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
  unlike = sorted(
    name
    for name in expected.keys() | weights.keys()
    if _kind(expected.get(name)) != _kind(weights.get(name))
  )
  if unlike:
    name = unlike[0]
    raise ValueError(
      f"{file} expects {name!r} to be {_kind(expected.get(name))}, but "
      f"model.safetensors has {_kind(weights.get(name))} "
      f"({len(unlike)} arrays differ)"
    )


def _kind(array) -> str:
  return "nothing" if array is None else f"{array.dtype} {list(array.shape)}"
