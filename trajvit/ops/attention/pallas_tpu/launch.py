"""From a kernel's operands to one `pallas_call`, resident or streaming.

The grid is (batch, head, block that stays). What moves is held whole in VMEM if
that fits the budget; then Pallas fetches it once for a head, while the head
before is computed. Otherwise it streams from HBM.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from trajvit import compat
from trajvit.ops.attention.block_mask import TileLists
from trajvit.ops.attention.pallas_tpu import rows, vmem
from trajvit.ops.attention.pallas_tpu.operands import (
  Operand,
  Resident,
  Ring,
  ring_size,
  share,
)

# Pairs of tokens in a step: four tiles of 512 x 128. More overlap the units
# better and take more VMEM.
_STEP_AREA = 1 << 18
_LARGEST_GROUP = 4


@dataclasses.dataclass(frozen=True)
class Kernel:
  """What a kernel reads and writes.

  Attributes:
    name: of the program, to which the variant is added.
    body: one of `flash`, its `rule` bound.
    stays: inputs of which a program sees one block.
    moves: inputs that it walks over.
    outs: types of the outputs, one part for each program.
    scratch: shapes of float32 arrays, by name.
    block: tokens in a block that moves.
    products: matrix products of a tile, counted in the model's FLOPs.
    one_by_one: take no groups of tiles: each decides for itself.
  """

  name: str
  body: Callable
  stays: dict[str, Operand]
  moves: dict[str, Operand]
  outs: dict[str, Operand]
  scratch: dict[str, tuple[int, ...]]
  block: int
  products: int
  one_by_one: bool = False


def launch(
  kernel: Kernel, lists: TileLists, grid: tuple[int, int, int], interpret
) -> dict[str, jax.Array]:
  """Returns the outputs by name.

  Args:
    kernel: the kernel.
    lists: for each block that stays, the blocks it meets.
    grid: (batch, heads, blocks that stay).
    interpret: see `pl.pallas_call`.
  """
  row = rows.pack(lists)
  group = _group(kernel, lists, grid)
  resident = vmem.fits(_need(kernel, grid, group, resident=True))
  need = _need(kernel, grid, group, resident=resident)
  inputs = kernel.stays | kernel.moves
  arrays = {name: operand.array for name, operand in inputs.items()}
  scratch = {
    name: pltpu.VMEM(shape, "float32") for name, shape in kernel.scratch.items()
  }
  if not resident:
    scratch |= Ring.scratch(kernel.moves, kernel.block, group)
  names = [*inputs, *kernel.outs, *scratch]

  def body(row, *references):
    refs = dict(zip(names, references, strict=True))
    if resident:
      source = Resident(row, kernel.moves, refs, kernel.block)
    else:
      source = Ring(row, kernel.moves, refs, kernel.block, group, grid)
    kernel.body(
      functools.partial(_walk, row, group, source, kernel, refs), refs
    )

  if resident:
    moving = [each.whole(grid) for each in kernel.moves.values()]
  else:
    moving = [pl.BlockSpec(memory_space=pl.ANY) for _ in kernel.moves]
  outs = pl.pallas_call(
    body,
    grid=grid,
    in_specs=[
      _row_spec(row, grid),
      *(each.staying(grid) for each in kernel.stays.values()),
      *moving,
    ],
    out_specs=[each.staying(grid) for each in kernel.outs.values()],
    out_shape=[
      compat.struct_like(
        each.array.shape, each.array.dtype, row, *arrays.values()
      )
      for each in kernel.outs.values()
    ],
    scratch_shapes=list(scratch.values()),
    compiler_params=pltpu.CompilerParams(
      dimension_semantics=("parallel", "parallel", "arbitrary"),
      vmem_limit_bytes=vmem.limit(need),
    ),
    cost_estimate=_cost(kernel, lists, grid, resident),
    interpret=interpret,
    name=f"{kernel.name}_{'resident' if resident else 'streaming'}",
  )(row, *arrays.values())
  return dict(zip(kernel.outs, outs, strict=True))


def _walk(row, group, source, kernel, refs, step):
  """Calls `step(get, numbers, masked)` for every group of tiles of a row."""

  def at(position, width, masked):
    read = source.fetch(position, width)

    def get(name):
      return read(name) if name in kernel.moves else refs[name][...]

    numbers = [rows.block(row, position + n) for n in range(width)]
    step(get, numbers, masked)

  source.start()
  rows.walk(row, group, at)


def _group(kernel, lists, grid) -> int:
  if kernel.one_by_one:
    return 1
  fitting = _STEP_AREA // (kernel.block * _staying_tokens(kernel, grid))
  return max(1, min(fitting, _LARGEST_GROUP, lists.index.shape[-1]))


def _staying_tokens(kernel, grid) -> int:
  operand = next(iter(kernel.stays.values()))
  return operand.tokens // grid[2]


def _row_spec(row, grid):
  lists = row.shape[:2]

  def place(batch, head, number):
    batch = share(batch, grid[0], lists[0])
    return batch, share(head, grid[1], lists[1]), number, 0, 0

  shape = None, None, None, *row.shape[3:]
  return pl.BlockSpec(shape, place, memory_space=pltpu.SMEM)


def _need(kernel, grid, group, resident) -> int:
  """Bytes of VMEM: blocks twice, so that one loads while one is used."""

  def size(operand, tokens):
    return vmem.padded(operand.tile(tokens), operand.array.dtype)

  still = [*kernel.stays.values(), *kernel.outs.values()]
  need = 2 * sum(size(each, each.tokens // grid[2]) for each in still)
  moving = kernel.moves.values()
  if resident:
    need += 2 * sum(size(each, each.tokens) for each in moving)
  else:
    tiles = sum(size(each, kernel.block) for each in moving)
    need += ring_size(group) * tiles
  need += sum(
    vmem.padded(shape, "float32") for shape in kernel.scratch.values()
  )
  # Of a step live at once: logits, weights, and what becomes their gradient.
  tile = group * kernel.block, _staying_tokens(kernel, grid)
  return need + 3 * vmem.padded(tile, "float32")


def _cost(kernel, lists, grid, resident) -> pl.CostEstimate:
  """The model's cost, with half of the slots of a list taken as used: how many
  are is known only when the program runs."""
  tiles = math.prod(grid) * -(-lists.index.shape[-1] // 2)
  pairs = tiles * kernel.block * _staying_tokens(kernel, grid)
  width = next(iter(kernel.moves.values())).array.shape[-1]

  def size(operand):
    return operand.array.size * operand.array.dtype.itemsize

  moved = sum(map(size, (kernel.stays | kernel.outs).values()))
  for each in kernel.moves.values():
    if resident:
      moved += size(each)
    else:
      tile = math.prod(each.tile(kernel.block))
      moved += tiles * tile * each.array.dtype.itemsize
  return pl.CostEstimate(
    flops=2 * kernel.products * pairs * width,
    transcendentals=pairs,
    bytes_accessed=moved,
  )
