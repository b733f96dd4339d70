"""Parameters of an encoder for other stages: the same blocks, cut elsewhere."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def restage(stages: dict, depths: Sequence[int]) -> dict:
  """Returns the parameters of the same blocks in stages of other depths.

  Args:
    stages: {number: {"layers": arrays with a leading axis of blocks}}, as in
      `variables["params"]["encoder"]["stages"]`.
    depths: blocks of each new stage.

  Raises:
    ValueError: the blocks are another number.
  """
  parts = [stages[number]["layers"] for number in sorted(stages)]
  layers = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
  blocks = len(jax.tree.leaves(layers)[0])
  if sum(depths) != blocks:
    raise ValueError(
      f"stages must sum to the {blocks} blocks there are, got {tuple(depths)}"
    )
  ends = [sum(depths[: i + 1]) for i in range(len(depths))]

  def stage(end, depth):
    return jax.tree.map(lambda x: x[end - depth : end], layers)

  return {
    number: {"layers": stage(end, depth)}
    for number, (end, depth) in enumerate(zip(ends, depths, strict=True))
  }
