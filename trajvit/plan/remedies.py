"""Changes that take memory from a step, the cheapest first.

Each builds on those before it: what costs a little speed is tried alone before
it is joined by what costs more, or changes what is learnt.
"""

import dataclasses
import math
from collections.abc import Iterator

from trajvit.layers.remat import POLICIES
from trajvit.plan.recompute import policies, with_policy
from trajvit.plan.target import Target

MOST_MICRO_BATCHES = 64
# Gradients are as large as parameters, which are a third of AdamW's state.
_STATE_AND_GRADIENTS = 4 / 3


@dataclasses.dataclass(frozen=True)
class Remedy:
  """A change of the config.

  Attributes:
    options: {option: value}, as a command line would set them.
    cost: what it costs.
    config: the whole config with it.
  """

  options: dict[str, str | int]
  cost: str
  config: dict

  def __str__(self) -> str:
    return " ".join(
      f"--config.{name}={value}" for name, value in self.options.items()
    )


def remedies(
  config: dict, target: Target, *, state_bytes: int, excess: int
) -> Iterator[Remedy]:
  """Yields changes that may make a step fit, in the order to try them.

  Args:
    config: plain nested values, of the step that does not fit.
    target: for what it was compiled.
    state_bytes: of the state on a device.
    excess: bytes that a device lacks, at least.
  """
  options = {}
  for remat in _cheaper(config["model"]):
    config = config | {"model": with_policy(config["model"], remat)}
    options |= dict.fromkeys(_paths(config["model"], "model"), remat)
    yield Remedy(dict(options), "computes parts of layers twice", config)

  for fsdp in _wider(config, target):
    saved = state_bytes * _STATE_AND_GRADIENTS
    saved *= 1 - config["mesh"].get("fsdp", 1) / fsdp
    if saved < excess / 8:
      break  # the state is not what is too large
    mesh = config["mesh"] | {"fsdp": fsdp}
    state_bytes = state_bytes * config["mesh"].get("fsdp", 1) // fsdp
    config = config | {"mesh": mesh}
    options["mesh.fsdp"] = fsdp
    yield Remedy(dict(options), "gathers parameters from more devices", config)

  for count in _micro_batches(config, target):
    optimizer = config["optimizer"] | {"accumulate_steps": count}
    options["optimizer.accumulate_steps"] = count
    cost = f"1/{count} of the negatives, and gradients added up"
    yield Remedy(dict(options), cost, config | {"optimizer": optimizer})


def _cheaper(model) -> list[str]:
  """Policies that keep less than the model's do."""
  known = list(POLICIES)
  used = policies(model)
  if not used:
    return []
  return known[min(map(known.index, used)) + 1 :]


def _paths(model, where) -> Iterator[str]:
  if "remat" in model:
    yield f"{where}.remat"
  for key, value in model.items():
    if isinstance(value, dict):
      yield from _paths(value, f"{where}.{key}")


def _sharing(config, target) -> int:
  """Devices that share out the clips of a batch."""
  mesh = config.get("mesh") or {}
  cut = mesh.get("tensor", 1) * mesh.get("context", 1)
  return target.num_devices // cut


def _wider(config, target) -> Iterator[int]:
  """Larger sizes of fsdp, by factors of four, up to all devices of a slice."""
  mesh = config.get("mesh") or {}
  fsdp, most = mesh.get("fsdp", 1), _sharing(config, target) // target.slices
  if fsdp < 1 or mesh.get("data", -1) != -1:
    return
  while fsdp < most and most % fsdp == 0:
    fsdp = math.gcd(4 * fsdp, most)
    yield fsdp


def _micro_batches(config, target) -> Iterator[int]:
  """Numbers of micro-batches that leave every device a clip of each."""
  count = config["optimizer"].get("accumulate_steps", 1)
  clips = config["data"]["batch_size"] // _sharing(config, target)
  while (
    2 * count <= min(clips, MOST_MICRO_BATCHES) and clips % (2 * count) == 0
  ):
    count *= 2
    yield count
