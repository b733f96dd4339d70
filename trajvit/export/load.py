"""Finds what is in a directory, and loads the encoder in it.

An export needs jax and numpy, and no Flax; a run directory, and an export
without its programs, need what trained it.
"""

import importlib
import json
from pathlib import Path

from trajvit.export import safetensors
from trajvit.export.encoder import Encoder
from trajvit.export.targets import TARGETS, preprocessing_of

FORMAT = 2
CONFIG, PREPROCESSING = "config.json", "preprocessor_config.json"
WEIGHTS = "model.safetensors"


def load(path: str | Path, runtime: str | None = None) -> Encoder:
  """Returns the encoder in a directory.

  Args:
    path: what `trajvit export` wrote; or a run, of which the newest checkpoint
      is taken.
    runtime: the name in TARGETS of the programs of an export to run; None takes
      the first whose files are there, and where there are none builds the model
      of the weights, which needs Flax.

  Raises:
    FileNotFoundError: `path` is neither, or a run without a checkpoint.
    ValueError: another format, a runtime that was not exported, programs from a
      newer jax, files that are damaged or do not fit together, or a run whose
      model encodes nothing.
  """
  path = Path(path)
  if (path / PREPROCESSING).is_file() or _is_format_1(path):
    return load_export(path, runtime)
  if (path / CONFIG).is_file():
    if runtime is not None:
      raise ValueError(f"{path} is a run, which has no programs of {runtime}")
    return importlib.import_module("trajvit.export.live").encoder_of_run(path)
  raise FileNotFoundError(
    f"{path} is no export and no run: it has no {PREPROCESSING} and no {CONFIG}"
  )


def load_export(path: Path, runtime: str | None = None) -> Encoder:
  """Returns the encoder that `trajvit export` wrote to `path`; see `load`."""
  config = _read_json(path / CONFIG)
  if config.get("format") != FORMAT:
    raise ValueError(
      f"{path} has format {config.get('format')}, expected {FORMAT}: export it "
      "again"
    )
  preprocessing = _read_json(path / PREPROCESSING)
  weights = safetensors.read(path / WEIGHTS)
  if runtime is None:
    runtime = _first_there(path, config["programs"])
  elif runtime not in config["programs"]:
    raise ValueError(
      f"{path} has no programs of {runtime}; it has "
      f"{', '.join(config['programs']) or 'weights alone'}"
    )
  if runtime is None:
    live = importlib.import_module("trajvit.export.live")
    programs = live.programs_of_export(path, config, preprocessing, weights)
  else:
    programs = TARGETS[runtime].load(path, config, weights)
    preprocessing = preprocessing_of(runtime, preprocessing)
  return Encoder(config, preprocessing, weights, programs)


def _first_there(path: Path, programs: dict) -> str | None:
  """The first target of which a file is there; None if none has any."""
  for target in TARGETS:
    signatures = programs.get(target, {}).values()
    if any((path / signature["file"]).is_file() for signature in signatures):
      return target
  return None


def _is_format_1(path):
  return (path / "preprocessing.json").is_file()


def _read_json(path):
  return json.loads(path.read_text(encoding="utf-8"))
