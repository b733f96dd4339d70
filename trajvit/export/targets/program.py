"""One method of a model as a function of arrays, to be written as a program."""

import dataclasses
from collections.abc import Callable

import jax
import jax.export


@dataclasses.dataclass(frozen=True)
class Program:
  """A function of weights and arrays.

  Attributes:
    call: `call(weights, *inputs)` returns an array or a dict of arrays; weights
      are arrays by name.
    inputs: name -> (dtype, shape without the batch axis). A size that is not
      fixed is a string, such as "t" or "2*t" frames.
  """

  call: Callable
  inputs: dict[str, tuple]

  def arguments(self) -> list[jax.ShapeDtypeStruct]:
    """Returns what to trace `call` with behind the weights.

    The batch is symbolic, "b", and so are sizes that are not fixed; a letter
    stands for one number in all inputs.
    """
    scope = jax.export.SymbolicScope()
    return [
      jax.ShapeDtypeStruct(
        jax.export.symbolic_shape(
          ", ".join(["b", *map(str, shape)]), scope=scope
        ),
        dtype,
      )
      for dtype, shape in self.inputs.values()
    ]

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
