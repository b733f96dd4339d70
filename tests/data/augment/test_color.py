"""Colour maps against Pillow's, blur against a loop, and what both keep."""

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from trajvit.data.augment import Footage, color_maps
from trajvit.data.augment.color import Blur, Color, gaussian_weights


@pytest.fixture
def frames(rng):
  return rng.integers(0, 256, (3, 10, 12, 3), dtype=np.uint8)


def make(frames):
  return Footage(frames, np.zeros(len(frames), np.float32))


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4])
@pytest.mark.parametrize("kind", ["Brightness", "Contrast", "Color"])
def test_maps_equal_those_of_pillow(frames, kind, factor):
  """On the clip as one tall picture, up to how the two round."""
  tall = Image.fromarray(frames.reshape(-1, 12, 3))
  expected = np.asarray(getattr(ImageEnhance, kind)(tall).enhance(factor))
  level = color_maps.luma(color_maps.IDENTITY, color_maps.mean_color(frames))
  matrix = {
    "Brightness": color_maps.brightness(factor),
    "Contrast": color_maps.contrast(factor, level),
    "Color": color_maps.saturation(factor),
  }[kind]
  got = color_maps.map_colors(frames, matrix)
  assert got.shape == frames.shape and got.dtype == np.uint8
  difference = got.reshape(expected.shape).astype(int) - expected
  assert abs(difference).max() <= 1


def test_mean_color(frames):
  np.testing.assert_allclose(
    color_maps.mean_color(frames), frames.mean((0, 1, 2)), rtol=1e-12
  )


def test_hue_turns_colours_and_keeps_greys_and_luma():
  for turn in (0.1, -0.1, 0.5):
    matrix = color_maps.hue(turn)[:3, :3]
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-5)
    grey = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey @ matrix, grey, atol=1e-5)
    inverse = color_maps.hue(-turn)[:3, :3]
    np.testing.assert_allclose(inverse @ matrix, np.eye(3), atol=1e-5)
  for color in [0.6, 0.4, 0.4], [0.4, 0.6, 0.4], [0.5, 0.4, 0.6]:
    before = colorsys.rgb_to_hsv(*color)[0]
    after = colorsys.rgb_to_hsv(*(color_maps.hue(0.1)[:3, :3] @ color))[0]
    assert abs((after - before + 0.5) % 1 - 0.5 - 0.1) < 0.05


def test_nothing_is_jittered_by_nothing(frames):
  still = Color(brightness=0, contrast=0, saturation=0, hue=0, p=1, grayscale=0)
  for seed in range(5):
    got = still(make(frames), np.random.default_rng(seed)).frames
    np.testing.assert_array_equal(got, frames)
  never = Color(p=0, grayscale=0)
  assert never(make(frames), np.random.default_rng(0)).frames is frames


def test_how_often(frames):
  changed = grey = 0
  for seed in range(200):
    got = Color()(make(frames), np.random.default_rng(seed)).frames
    changed += (got != frames).any()
    grey += (np.ptp(got.astype(int), axis=-1) <= 1).all()
  assert 0.58 < changed / 200 < 0.78  # 1 - 0.4 * 0.8
  assert 0.12 < grey / 200 < 0.28


def test_what_brightens_over_time_goes_on_doing_so():
  """One map for all frames, whose contrast is about the mean of the clip."""
  levels = np.arange(100, 140, 10, dtype=np.uint8)
  frames = np.broadcast_to(levels[:, None, None, None], (4, 6, 6, 3))
  for seed in range(20):
    step = Color(p=1, hue=0, brightness=0.2, grayscale=0)
    got = step(make(frames), np.random.default_rng(seed)).frames
    steps = np.diff(got[:, 0, 0].astype(int), axis=0)
    assert (steps >= 4).all() and np.ptp(steps) <= 1


@pytest.mark.parametrize("kernel", [1, 5])
def test_blur_equals_a_loop(frames, kernel):
  step = Blur(sigma=(1.3, 1.3), kernel=kernel, p=1)
  got = step(make(frames), np.random.default_rng(0)).frames
  radius = kernel // 2
  weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / 1.3) ** 2)
  weights /= weights.sum()
  pad = ((0, 0), (radius, radius), (radius, radius), (0, 0))
  padded = np.pad(frames.astype(float), pad, mode="symmetric")
  expected = np.zeros(frames.shape)
  for y, a in enumerate(weights):
    for x, b in enumerate(weights):
      expected += a * b * padded[:, y : y + 10, x : x + 12]
  assert abs(got - expected).max() < 2.5  # weights are parts of 256


def test_blur_weights_are_whole():
  for sigma in 0.01, 0.1, 0.7, 2.0, 90.0:
    weights = gaussian_weights(sigma, 2)
    assert weights[0] + 2 * weights[1:].sum() == 256
    assert (np.diff(weights.astype(int)) <= 0).all()
  assert gaussian_weights(0.1, 2).tolist() == [256, 0, 0]


def test_a_flat_picture_is_not_blurred():
  """White stays white: the sums do not overflow."""
  frames = np.full((1, 7, 7, 3), 255, np.uint8)
  for seed in range(5):
    got = Blur(p=1)(make(frames), np.random.default_rng(seed)).frames
    np.testing.assert_array_equal(got, frames)


def test_half_of_the_clips_are_blurred(frames):
  count = sum(
    Blur()(make(frames), np.random.default_rng(seed)).frames is not frames
    for seed in range(100)
  )
  assert 35 < count < 65


def test_contrast_keeps_the_mean(rng):
  """Of the clip as it is by then, whatever was jittered before."""
  frames = rng.integers(60, 100, (2, 8, 8, 3), dtype=np.uint8)
  level = color_maps.luma(color_maps.IDENTITY, color_maps.mean_color(frames))
  step = Color(brightness=0, contrast=0.4, p=1, grayscale=0)
  for seed in range(10):
    got = step(make(frames), np.random.default_rng(seed)).frames
    after = color_maps.luma(color_maps.IDENTITY, color_maps.mean_color(got))
    assert abs(after - level) < 0.5
