"""Tables of sines and cosines: their values, one by one."""

import math

import numpy as np
import pytest

from trajvit.ops.sincos import (
  sincos_grid,
  sincos_halves,
  sincos_plane,
  timestep,
)


def test_values_on_a_plane():
  table = sincos_grid((3, 2), 8)
  np.testing.assert_array_equal(table[0, 0], [0, 0, 1, 1] * 2)
  moved = [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
  np.testing.assert_allclose(table[1, 0], moved + [0, 0, 1, 1], atol=1e-7)
  np.testing.assert_allclose(table[0, 1], [0, 0, 1, 1] + moved, atol=1e-7)


def test_the_first_half_varies_with_the_row_alone():
  table = sincos_grid((4, 3), 16)
  assert (table[..., :8] == table[:, :1, :8]).all()
  assert (table[..., 8:] == table[:1, :, 8:]).all()
  assert len(np.unique(table.reshape(12, -1), axis=0)) == 12


def test_a_plane_is_the_same_in_every_frame():
  table = sincos_plane((2, 4, 3), 16)
  assert (table == sincos_grid((4, 3), 16)).all() and table.shape[0] == 2


def test_channels_that_are_left_over_are_zeros():
  table = sincos_grid((2, 2, 2), 16)
  assert table.shape == (2, 2, 2, 16)
  assert not table[..., 12:].any()
  assert len(np.unique(table.reshape(8, -1), axis=0)) == 8
  with pytest.raises(ValueError, match="3 axes need a width of at least 6"):
    sincos_grid((2, 2, 2), 5)


def test_the_slowest_of_halves_is_ten_thousand_times_slower():
  table = sincos_halves(3, 7)
  np.testing.assert_array_equal(table[0], [0, 0, 0, 1, 1, 1, 0])
  phases = [2.0, 2e-2, 2e-4]
  want = [math.sin(x) for x in phases] + [math.cos(x) for x in phases]
  np.testing.assert_allclose(table[2], [*want, 0], atol=1e-7)


@pytest.mark.parametrize("max_timestep", [1.0, 1000.0])
def test_noise_levels(max_timestep):
  got = timestep(
    np.array([0, 0.3], np.float32), width=8, max_timestep=max_timestep
  )
  steps = [256 ** (-i / 4) * 1000 / max_timestep for i in range(4)]
  want = [math.cos(0.3 * f) for f in steps]
  want += [math.sin(0.3 * f) for f in steps]
  np.testing.assert_array_equal(got[0], [1] * 4 + [0] * 4)
  np.testing.assert_allclose(got[1], want, atol=2e-5)
  with pytest.raises(ValueError, match="width must be even, got 7"):
    timestep(np.zeros(1), width=7)
