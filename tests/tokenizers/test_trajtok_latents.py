import jax
import numpy as np
import pytest

from trajvit.tokenizers.trajtok.latents import (
  grid_coordinates,
  grid_latents,
  ring_latents,
)


def test_the_grid_of_128_has_the_values_of_the_reference():
  got = grid_coordinates(128)[[0, 1, 2, 11, 127]]
  expected = [(0, 0), (0, 0.1), (0, 0.2), (1 / 11, 0), (1, 0.6)]
  np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 10, 32])
def test_any_number_of_slots_has_places_of_its_own(count):
  got = grid_coordinates(count)
  assert got.shape == (count, 2) and got.min() >= 0 and got.max() <= 1
  assert len(np.unique(got, axis=0)) == count


def gram(x):
  return np.asarray(x, np.float64) @ np.asarray(x, np.float64).T


def test_grid_latents_keep_the_geometry_of_their_bank():
  """Five frequencies for 128 slots, in 64 channels by an isometry."""
  bank = []
  for row, column in grid_coordinates(128):
    features = [
      wave(2 * np.pi * f * x)
      for x in (row, column)
      for wave in (np.sin, np.cos)
      for f in range(1, 6)
    ]
    bank.append(np.array(features) / np.linalg.norm(features))
  latents = grid_latents(jax.random.key(0), 128, 64) / 0.02
  np.testing.assert_allclose(gram(latents), gram(bank), atol=0.05)


def test_a_bank_wider_than_the_latents_is_cut():
  latents = grid_latents(jax.random.key(0), 128, 8)
  assert latents.shape == (128, 8)
  np.testing.assert_allclose(latents[0, 5:], 0.02 / 10**0.5, atol=1e-4)


def test_ring_latents_differ_inside_a_slot_and_hardly_between_slots():
  latents = np.asarray(ring_latents(jax.random.key(0), 6, 4, 16))
  assert latents.shape == (6, 4, 16)
  between = latents - latents.mean(0)
  inside = latents - latents.mean(1, keepdims=True)
  assert 0 < np.abs(between).max() < 1e-4 and np.abs(inside).max() > 1e-3
  # A quarter turn apart: frequency 1 opposes, frequency 2 is the same or not.
  cosines = gram(latents[0]) / 0.02**2
  np.testing.assert_allclose(cosines[0, :3], [1, -0.5, 0], atol=0.05)
