"""Procedural grey textures that tile: clouds, grain, waves and veins."""

import functools

import numpy as np

NUM_TEXTURES = 24


@functools.lru_cache(maxsize=4)
def texture_bank(side: int) -> np.ndarray:
  """Returns [NUM_TEXTURES, side, side] uint8 over the full range [0, 255].

  The textures are the same whatever the resolution `side`. The array is shared
  and read-only.
  """
  rng = np.random.default_rng(1234)
  kinds = (_clouds, _grain, _waves, _veins)
  bank = np.empty((NUM_TEXTURES, side, side), np.uint8)
  for i in range(NUM_TEXTURES):
    texture = kinds[i % len(kinds)](rng, side, variant=i // len(kinds))
    bank[i] = np.rint(255 * _stretch(texture))
  bank.flags.writeable = False
  return bank


def _clouds(rng, side, variant):
  return _value_noise(rng, side, 4 << variant % 3, octaves=4, persistence=0.55)


def _grain(rng, side, variant):
  return _value_noise(rng, side, 16 << variant % 3, octaves=3, persistence=0.8)


def _waves(rng, side, variant):
  """A grating, bent by noise; whole wave numbers make it tile."""
  direction = rng.uniform(0, np.pi)
  across = np.rint((6 + 2 * variant) * np.cos(direction))
  down = np.rint((6 + 2 * variant) * np.sin(direction))
  axis = np.arange(side) / side
  bend = _value_noise(rng, side, 4, octaves=3, persistence=0.5)
  phase = 2 * np.pi * (across * axis[None] + down * axis[:, None])
  return np.sin(phase + 5 * bend)


def _veins(rng, side, variant):
  del variant
  return np.abs(_value_noise(rng, side, 8, octaves=4, persistence=0.6) - 0.5)


def _value_noise(rng, side, cells, *, octaves, persistence):
  """Sums lattices of `cells`, `2 * cells`, ... random values, interpolated.

  Returns [side, side] float64 in [0, 1] that tiles.
  """
  total = np.zeros((side, side))
  for octave in range(octaves):
    lattice = rng.random((cells << octave,) * 2)
    place = np.arange(side) * len(lattice) / side
    low = place.astype(int)
    high = (low + 1) % len(lattice)
    blend = place - low
    blend = blend * blend * (3 - 2 * blend)
    rows = lattice[low] * (1 - blend[:, None]) + lattice[high] * blend[:, None]
    layer = rows[:, low] * (1 - blend) + rows[:, high] * blend
    total += persistence**octave * layer
  return _stretch(total)


def _stretch(values):
  """Scales `values` to exactly [0, 1]."""
  return (values - values.min()) / (values.max() - values.min())
