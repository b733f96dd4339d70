"""Several small digits as one integer, and back."""

import math

import jax
import jax.numpy as jnp
import numpy as np


def pack_digits(digits: jax.Array, radices: tuple[int, ...]) -> jax.Array:
  """Returns sum_i digit_i * (radix_0 ... radix_{i-1}): the first is fastest.

  Args:
    digits: [..., d] int32, digit i in [0, radix_i).
    radices: d of them, whose product is below 2^31.

  Returns:
    [...] int32 in [0, product of the radices).

  Raises:
    ValueError: the product does not fit.
  """
  return (digits.astype(jnp.int32) * _basis(radices)).sum(-1, dtype=jnp.int32)


def unpack_digits(index: jax.Array, radices: tuple[int, ...]) -> jax.Array:
  """Returns the digits [..., d] int32 of an index [...]; see `pack_digits`."""
  radix = np.asarray(radices, np.int32)
  return (index[..., None] // _basis(radices)) % radix


def _basis(radices):
  if math.prod(radices) >= 2**31:
    raise ValueError(
      f"the product of {radices} must be below 2^31 for an int32 index, got "
      f"{math.prod(radices)}"
    )
  return np.cumprod((1, *radices[:-1])).astype(np.int32)
