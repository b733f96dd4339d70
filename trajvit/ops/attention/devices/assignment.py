"""Which device of a ring holds which tokens, so that all have equal work.

Tokens are assigned in units of whole blocks. An assignment is a permutation of
the n units: the first n / P of it are on device 0, the next on device 1, and so
on. At turn s of a ring of P, device p works on its queries and the keys of
device p - s modulo P, and the ring goes on when the slowest is done: both
totals and turns should be even, as MTraining (arXiv:2510.18830) has it. All of
this is NumPy, on the host. The tokens, their coordinates and their positions
are reordered once, before the first layer:

  assignment = assign(units, devices, blocks.classes)
  order = token_order(assignment, length)
  features, positions = features[:, order], positions[:, order]
  blocks = rearrange(blocks, assignment)
"""

import dataclasses

import jax
import numpy as np

from trajvit.ops.attention.block_mask import BlockMask, from_classes
from trajvit.ops.attention.pattern import EMPTY


@dataclasses.dataclass(frozen=True)
class Balance:
  """How much longer a ring takes than with its work shared out evenly.

  Attributes:
    devices: tiles of the busiest device over the mean; 1 is even.
    turns: sum over the turns of the tiles of the busiest device in each, over
      the mean of all tiles on a device; 1 is even, P is one device working.
  """

  devices: float
  turns: float


def contiguous(units: int, devices: int) -> np.ndarray:
  """Returns the units as they come: right where tokens meet near ones.

  Args:
    units: n.
    devices: P, divides n.

  Raises:
    ValueError: P does not divide n.
  """
  _check(units, devices)
  return np.arange(units)


def zigzag(units: int, devices: int) -> np.ndarray:
  """Returns the order where device p has the p-th run from the front and back.

  Under a causal pattern one end has what the other lacks in keys. See
  `contiguous` for the arguments and errors.
  """
  _check(units, devices)
  back = units // devices // 2
  front = units // devices - back
  parts = []
  for device in range(devices):
    parts.append(np.arange(front) + device * front)
    parts.append(np.arange(back) + units - (device + 1) * back)
  return np.concatenate(parts)


def striped(units: int, devices: int) -> np.ndarray:
  """Returns the order where unit i is on device i modulo P.

  Source: Striped Attention (arXiv:2311.09431), with units in place of tokens.
  See `contiguous` for the arguments and errors.
  """
  _check(units, devices)
  return np.arange(units).reshape(-1, devices).T.ravel()


def greedy(units: int, devices: int, classes: np.ndarray) -> np.ndarray:
  """Returns the order by count: the busiest unit left to the idlest device.

  Args:
    units: n, divides nq and nk.
    devices: P, divides n.
    classes: [Bm, Hm, nq, nk], the tiles.

  Raises:
    ValueError: P does not divide n, or n does not divide nq and nk.
  """
  _check(units, devices)
  count = _work(classes, units).sum(1)
  held = [[] for _ in range(devices)]
  load = np.zeros(devices)
  for unit in np.argsort(-count, kind="stable"):
    free = [p for p in range(devices) if len(held[p]) < units // devices]
    idlest = min(free, key=lambda p: load[p])
    held[idlest].append(unit)
    load[idlest] += count[unit]
  return np.concatenate([np.sort(each) for each in held])


def balance(
  classes: np.ndarray, assignment: np.ndarray, devices: int
) -> Balance:
  """Returns how even the work of an assignment is.

  Args:
    classes: [Bm, Hm, nq, nk], the tiles in the order before the assignment.
    assignment: [n].
    devices: P.
  """
  units = len(assignment)
  _check(units, devices)
  work = _work(classes, units)[assignment][:, assignment]
  share = units // devices
  work = work.reshape(devices, share, devices, share).sum((1, 3))  # [P, P]
  if not work.any():
    return Balance(1.0, 1.0)
  device = np.arange(devices)
  turns = [work[device, (device - turn) % devices] for turn in device]
  mean = work.sum() / devices
  return Balance(
    devices=float(work.sum(1).max() / mean),
    turns=float(sum(turn.max() for turn in turns) / mean),
  )


def assign(
  units: int, devices: int, classes: np.ndarray | None = None
) -> np.ndarray:
  """Returns the assignment with the most even turns, the simplest if several.

  Args:
    units: n, divides nq and nk.
    devices: P, divides n.
    classes: [Bm, Hm, nq, nk], the tiles; None means that they are not known:
      then zigzag, which is right for what is causal or dense.

  Raises:
    ValueError: as `greedy`.
  """
  if classes is None:
    return zigzag(units, devices)
  found = [rule(units, devices) for rule in (contiguous, zigzag, striped)]
  found.append(greedy(units, devices, classes))
  return min(found, key=lambda each: balance(classes, each, devices).turns)


def token_order(assignment: np.ndarray, length: int) -> np.ndarray:
  """Returns [N] int, the tokens in the order of an assignment.

  Args:
    assignment: [n].
    length: N, a multiple of n.
  """
  return np.arange(length).reshape(len(assignment), -1)[assignment].ravel()


def rearrange(blocks: BlockMask, assignment: np.ndarray) -> BlockMask:
  """Returns the BlockMask of the tokens in the order of an assignment.

  Args:
    blocks: of tokens that are whole blocks.
    assignment: [n], n divides nq and nk.

  Raises:
    ValueError: n does not divide nq and nk, or the last block is not whole.
  """
  units = len(assignment)
  _work(blocks.classes, units)  # checks them
  padded = blocks.query.segment.shape[-1], blocks.key.segment.shape[-1]
  if padded != (blocks.query_length, blocks.key_length):
    raise ValueError(
      f"tokens must be padded to whole blocks, {padded} queries and keys, got "
      f"{(blocks.query_length, blocks.key_length)}"
    )

  def ordered(coordinates):
    order = token_order(assignment, coordinates.segment.shape[-1])
    return jax.tree.map(lambda x: x[:, order], coordinates)

  rows, columns = (
    token_order(assignment, number) for number in blocks.classes.shape[2:]
  )
  return from_classes(
    blocks.classes[:, :, rows][..., columns],
    ordered(blocks.query),
    ordered(blocks.key),
    pattern=blocks.pattern,
    block_query=blocks.block_query,
    block_key=blocks.block_key,
  )


def _work(classes, units):
  """[n, n], tiles between the queries of a unit and the keys of another."""
  rows, columns = classes.shape[2:]
  if rows % units or columns % units:
    raise ValueError(
      f"units must divide {rows} query and {columns} key blocks, got {units}"
    )
  listed = np.asarray(classes != EMPTY).sum((0, 1))
  tall = listed.reshape(units, rows // units, units, columns // units)
  return tall.sum((1, 3))


def _check(units, devices):
  if units % devices:
    raise ValueError(f"{devices} devices must divide {units} units")
