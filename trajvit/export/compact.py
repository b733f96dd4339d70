"""Models whose kernels are kept in fewer bits.

Only kernels are: matrices of linear maps and filters of convolutions, which are
most of a model's bytes, and are read nowhere but in products. Norms, biases,
embeddings and other tables stay float32.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.linear import Linear
from trajvit.layers.upscale import Double

# Which have a kernel -> the axes over which their product sums. A stack of
# layers puts its own axis first, so that they are counted from the end.
KERNELS = {Linear: (-2,), Conv: (-4, -3, -2), Double: (-4,)}


class Int8(NamedTuple):
  """An array in eight bits, `value * scale`.

  Attributes:
    value: int8, of the shape of the array.
    scale: float32, likewise, but 1 long where a scale is shared: over the axes
      of which a product sums.
  """

  value: jax.Array
  scale: jax.Array


class Int8Param(nnx.Param):
  """A parameter kept as Int8 and read, `kernel[...]`, as float32.

  It is read where it is used: inside of a scan over layers one layer at a time
  is float32.
  """

  def __getitem__(self, key) -> jax.Array:
    """Returns the array, or a part of it, in float32."""
    kept = self.get_value()
    return (kept.value.astype(jnp.float32) * kept.scale)[key]


def compact(build: Callable[[], nnx.Module], form: str) -> Callable:
  """Returns `build` of the same model with compact kernels, which are zeros.

  Args:
    build: returns a model.
    form: "int8", for every kernel; or "bfloat16", for those that products of
      bfloat16 read, which round them anyway.

  Raises:
    ValueError: an unknown form.
  """
  if form not in FORMS:
    raise ValueError(
      f"weights can be quantized to {', '.join(FORMS)}, got {form!r}"
    )

  def build_compact():
    model = build()
    for _, module in list(nnx.iter_modules(model)):
      if type(module) in KERNELS:
        module.kernel = FORMS[form](module, KERNELS[type(module)])
    return model

  return build_compact


def _int8(module, summed) -> nnx.Param:
  shape = module.kernel.get_value().shape
  summed = [len(shape) + axis for axis in summed]
  shared = [1 if axis in summed else n for axis, n in enumerate(shape)]
  return Int8Param(Int8(jnp.zeros(shape, jnp.int8), jnp.zeros(shared)))


def _bfloat16(module, summed) -> nnx.Param:
  del summed
  if module.dtype != jnp.bfloat16:
    return module.kernel
  return nnx.Param(jnp.zeros(module.kernel.get_value().shape, jnp.bfloat16))


FORMS = {"int8": _int8, "bfloat16": _bfloat16}
