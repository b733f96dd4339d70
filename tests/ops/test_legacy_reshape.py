"""Registers mixed with channels: the formula, in strides."""

import numpy as np
import pytest

from trajvit.ops.legacy_reshape import legacy_reshape


@pytest.mark.parametrize("r", [2, 3, 4])
def test_a_token_has_every_nth_channel_of_all_registers(rng, r):
  count, width = 5, 5 * r
  x = rng.normal(size=(2, count, width)).astype(np.float32)
  y = np.asarray(legacy_reshape(x))
  assert y.shape == x.shape
  for n in range(count):
    for d in range(width):
      expected = x[:, d // r, count * (d % r) + n]
      np.testing.assert_array_equal(y[:, n, d], expected)


def test_it_is_defined_for_any_number(rng):
  x = rng.normal(size=(1, 3, 4)).astype(np.float32)
  y = np.asarray(legacy_reshape(x))[0]
  flat = x.reshape(-1)
  for n in range(3):
    np.testing.assert_array_equal(y[n], flat[n::3])
