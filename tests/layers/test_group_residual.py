"""What is added where the channels change, and what doubling does."""

import numpy as np
import pytest
from flax import nnx
from tiny import drawn

from trajvit.layers.group_residual import GroupResidual, doubled


def block(outputs, **options):
  return drawn(
    lambda: GroupResidual(32, outputs, rngs=nnx.Rngs(params=0), **options)
  )


@pytest.mark.parametrize("shortcut", ["input", "output"])
def test_what_is_left_of_the_input(rng, shortcut):
  """Of convolutions that put out nothing: the input, its map, or nothing."""
  x = rng.normal(size=(2, 3, 4, 32)).astype(np.float32)
  same = block(32, shortcut=shortcut, bias=False)
  changing = block(64, shortcut=shortcut, bias=False)
  for module in (same, changing):
    kernel = module.conv_second.kernel
    kernel[...] = np.zeros(kernel.shape)
  np.testing.assert_array_equal(same(x), x)
  mapped = x @ np.asarray(changing.shortcut.kernel[...])[0, 0, :32]
  expected = mapped if shortcut == "input" else 0 * mapped
  np.testing.assert_allclose(changing(x), expected, atol=1e-5)
  assert changing.conv_first.bias is changing.shortcut.bias is None


def test_shortcuts_are_known():
  with pytest.raises(ValueError, match="one of input, output, got 'both'"):
    block(32, shortcut="both")
  with pytest.raises(ValueError, match="32 groups must divide the width"):
    block(48)


def test_every_cell_is_there_four_times():
  x = np.arange(6).reshape(1, 2, 3, 1)
  y = np.asarray(doubled(x))
  assert y.shape == (1, 4, 6, 1)
  for i in range(4):
    for j in range(6):
      assert y[0, i, j] == x[0, i // 2, j // 2]
