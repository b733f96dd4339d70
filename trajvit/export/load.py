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
from trajvit.training.vocabulary import find_files, kept_file

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
    FileNotFoundError: `path` is neither, a run without a checkpoint, or an
      export that lacks a file.
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
  config, preprocessing = _read_config(path), _read_preprocessing(path)
  if preprocessing["text"] is not None:
    text = find_files(preprocessing["text"]["tokenizer"], path)
    preprocessing["text"]["tokenizer"] = text
    config["text"] = config["training"]["data"]["text"] = text
  weights = safetensors.read(kept_file(path, WEIGHTS))
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
    for signature in config["programs"][runtime].values():
      kept_file(path, signature["file"])
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


def _read_config(path: Path) -> dict:
  """What config.json holds, with all that loading reads."""
  config = _read_json(kept_file(path, CONFIG))
  if config.get("format") != FORMAT:
    raise ValueError(
      f"{path / CONFIG} has format {config.get('format')}, expected {FORMAT}: "
      "`trajvit export` writes it again, and `trajvit convert` reads the "
      "weights of other libraries"
    )
  match config:
    case {
      "programs": dict(programs),
      "versions": {"jax": str()},
      "model_context": dict(),
      "training": {"data": dict()},
    } if all(map(_are_signatures, programs.values())):
      return config
  raise ValueError(
    f"{path / CONFIG} needs programs of targets, each with its file, "
    "versions.jax, model_context and training.data"
  )


def _are_signatures(programs) -> bool:
  return isinstance(programs, dict) and all(
    isinstance(x, dict) and isinstance(x.get("file"), str)
    for x in programs.values()
  )


def _read_preprocessing(path: Path) -> dict:
  """What preprocessor_config.json holds, with all that loading reads."""
  found = _read_json(kept_file(path, PREPROCESSING))
  match found:
    case {
      "frames": int(),
      "size": int(),
      "any_frames": {"multiple_of": int()} | {"refused": str()},
      "tracks": None | {"grid": int(), "max_tracks": int()},
      "text": None | {"tokenizer": {"name": str()}, "length": int()},
    }:
      return found
  raise ValueError(
    f"{path / PREPROCESSING} needs frames, any_frames and size, tracks with "
    "grid and max_tracks or null, and text with tokenizer and length or null"
  )


def _read_json(path: Path) -> dict:
  """The object in a JSON file; ValueError if there is none."""
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f"{path} is no JSON: {error!s:.200}") from error
  if not isinstance(found, dict):
    raise ValueError(f"{path} must hold an object, got {found!r:.100}")
  return found
