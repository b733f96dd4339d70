"""The run directory: its config, and whether a run may go on in it."""

import json
from collections.abc import Sequence
from pathlib import Path

from trajvit.training.provenance import write_json

# Packed runs that come with the library: their names stand for directories
# wherever a run is read. How they are made is in docs/nested_tokens.md.
SHIPPED = ("moving_sprites",)
WEIGHTS = Path(__file__).resolve().parents[1] / "weights"

# What may differ between a run and its continuation: none of it changes a
# number of the training. Everything else would make it another run.
MAY_CHANGE = ("checkpoint", "compilation_cache", "data.loader", "evals", "mesh")


def find_run(workdir: str | Path) -> Path:
  """Returns the directory of a run.

  Args:
    workdir: of the run, or a name in SHIPPED; a directory that happens to be
      called so is "./NAME".
  """
  return WEIGHTS / workdir if workdir in SHIPPED else Path(workdir)


def check_run_config(workdir: str | Path, config: dict) -> None:
  """Checks that a run with `config` may start or go on in `workdir`.

  Raises:
    ValueError: the directory holds a run with another config.
  """
  if not (Path(workdir) / "config.json").exists():
    return
  found = config_differences(read_run_config(workdir), config)
  differing = [f"{key} was {x!r} and is {y!r}" for key, (x, y) in found.items()]
  if differing:
    raise ValueError(
      f"{workdir} holds a run with another config; use a new --workdir, or "
      f"set back: {'; '.join(differing)}"
    )


def config_differences(
  one: dict, two: dict, may_differ: Sequence[str] = ()
) -> dict[str, tuple]:
  """Returns {"a.b": (value, other value)} of two configs, None where missing.

  Args:
    one, two: plain nested values.
    may_differ: keys to leave out, with all below them, besides MAY_CHANGE.
  """
  one, two = _flat(one), _flat(two)
  allowed = (*MAY_CHANGE, *may_differ)
  return {
    key: (one.get(key), two.get(key))
    for key in sorted(one | two)
    if one.get(key) != two.get(key)
    and not any(key == x or key.startswith(f"{x}.") for x in allowed)
  }


def write_run_config(workdir: str | Path, config: dict) -> None:
  """Writes the resolved config, plain nested values, to config.json."""
  write_json(Path(workdir) / "config.json", config)


def read_run_config(workdir: str | Path) -> dict:
  """Returns the resolved config of a run.

  Args:
    workdir: of the run, or a name in SHIPPED.

  Raises:
    FileNotFoundError: `workdir` is neither.
  """
  path = find_run(workdir) / "config.json"
  if not path.exists():
    raise FileNotFoundError(
      f"{workdir} is no run directory: no config.json; runs that come with the "
      f"library: {', '.join(SHIPPED)}"
    )
  return json.loads(path.read_text(encoding="utf-8"))


def _flat(config, prefix=""):
  """{"a.b": value}; tuples compare equal to the lists that JSON makes."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, dict) and value:
      flat |= _flat(value, f"{prefix}{key}.")
    else:
      flat[prefix + key] = json.loads(json.dumps(value))
  return flat
