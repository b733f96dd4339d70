"""Packed runs: a trained model without what only its training needed.

DIRECTORY/config.json       of the run, as it was
          packed.json       step, results, and where they come from
          model.safetensors "params/..." and "batch_stats/..."

It takes a few small files, which a package can hold, and is read wherever the
directory of a run is (`training.restore`). Nothing trains on in it.
"""

import json
from pathlib import Path

import jax
import safetensors.numpy

from trajvit.models.feature_net import weight_hash
from trajvit.training.functional import named_leaves, path_name
from trajvit.training.provenance import write_json

RECORD = "packed.json"
WEIGHTS = "model.safetensors"


def is_packed(directory: str | Path) -> bool:
  """Returns whether a directory holds a packed run."""
  return (Path(directory) / RECORD).exists()


def write_packed(
  directory: str | Path, config: dict, variables: dict, record: dict
) -> None:
  """Writes a packed run.

  Args:
    directory: made if missing; it holds no run yet.
    config: of the run, plain nested values.
    variables: {"params", "batch_stats"}.
    record: plain values, with `step`, `ema` and `meta` as `RestoredRun` has
      them. The hash of the parameters is added as `params_sha256`.

  Raises:
    FileExistsError: there is a run in the directory.
  """
  directory = Path(directory)
  if (directory / "config.json").exists():
    raise FileExistsError(f"{directory} holds a run: it has a config.json")
  variables = jax.device_get(variables)
  record = record | {"params_sha256": weight_hash(variables["params"])}
  write_json(directory / "config.json", config)
  content = safetensors.numpy.save(named_leaves(variables))
  (directory / WEIGHTS).write_bytes(content)
  write_json(directory / RECORD, record)


class PackedCheckpoint:
  """The one checkpoint of a packed run, to be read as `Checkpoints` is."""

  def __init__(self, directory: str | Path):
    """Reads the record; `directory` holds a packed run."""
    self._directory = Path(directory)
    text = (self._directory / RECORD).read_text(encoding="utf-8")
    self.record = json.loads(text)

  def find(self, step: int | str | None = None) -> int:
    """Returns the step, if it is the one asked for or None is.

    Raises:
      FileNotFoundError: another step.
    """
    found = self.record["step"]
    if step not in (None, found):
      raise FileNotFoundError(
        f"no such checkpoint in {self._directory}, a packed run; its step is "
        f"{found}, got {step!r}"
      )
    return found

  def meta(self, step: int | str | None = None) -> dict:
    """Returns what the checkpoint of the run was saved with."""
    self.find(step)
    return self.record["meta"]

  def restore_variables(
    self, like: dict, *, step: int | str | None = None, ema: bool = False
  ) -> dict:
    """Returns {"params", "batch_stats"}.

    Args:
      like: ShapeDtypeStructs with shardings.
      step: as in `find`.
      ema: whether the moving average is wanted.

    Raises:
      ValueError: these are not the parameters that are wanted, their arrays are
        not those of the model, or their values not those that were packed.
    """
    self.find(step)
    if ema != self.record["ema"]:
      raise ValueError(
        f"{self._directory} has ema={self.record['ema']} packed, got ema={ema}"
      )
    found = safetensors.numpy.load_file(self._directory / WEIGHTS)
    expected = named_leaves(like)
    unlike = sorted(
      name
      for name in found.keys() | expected.keys()
      if _kind(found.get(name)) != _kind(expected.get(name))
    )
    if unlike:
      raise ValueError(
        f"{self._directory / WEIGHTS} does not fit the model: {len(unlike)} "
        f"arrays differ: {', '.join(unlike[:3])}"
      )
    variables = jax.tree_util.tree_map_with_path(
      lambda path, x: jax.device_put(found[path_name(path)], x.sharding), like
    )
    digest = weight_hash(variables["params"])
    if digest != self.record["params_sha256"]:
      raise ValueError(
        f"{self._directory / WEIGHTS} has parameters of hash {digest}, packed "
        f"were those of {self.record['params_sha256']}"
      )
    return variables

  def close(self) -> None:
    """Does nothing: nothing is open."""


def _kind(x):
  return None if x is None else (x.shape, x.dtype)
