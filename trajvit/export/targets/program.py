"""One method of a model as a function of arrays, to be written as a program."""

import dataclasses
from collections.abc import Callable

import jax


@dataclasses.dataclass(frozen=True)
class Program:
  """A function of weights and arrays.

  Attributes:
    call: `call(weights, *inputs)` returns an array or a dict of arrays; weights
      are arrays by name.
    inputs: name -> (dtype, shape without the batch axis).
  """

  call: Callable
  inputs: dict[str, tuple]

  def signature(self, outputs) -> dict:
    """Returns inputs and outputs as plain values, "b" being the batch.

    Args:
      outputs: what `call` returns, as anything with a shape and a dtype.
    """
    return {
      "inputs": [
        {"name": name, **_kind(dtype, ("b", *shape))}
        for name, (dtype, shape) in self.inputs.items()
      ],
      "outputs": jax.tree.map(lambda x: _kind(x.dtype, x.shape), outputs),
    }


def _kind(dtype, shape) -> dict:
  """An array as {"dtype", "shape"}; sizes that are not fixed are strings."""
  shape = [n if isinstance(n, int) else str(n) for n in shape]
  return {"dtype": jax.numpy.dtype(dtype).name, "shape": shape}
