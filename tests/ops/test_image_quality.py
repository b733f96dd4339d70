"""PSNR, SSIM and slopes against scikit-image and loops over pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from tiny import on_host

from trajvit.ops.image_quality import (
  LARGEST_PSNR,
  gradient_difference,
  psnr,
)
from trajvit.ops.masked import only_real, real_mean
from trajvit.ops.ssim import SIGMA, WINDOW, patch_ssim, ssim

LEAD, HEIGHT, WIDTH = (2, 3), 14, 12
SHAPE = (*LEAD, HEIGHT, WIDTH, 3)


def measures(x, y, mask):
  """All of them, of pixels in [0, 1]."""
  return {
    "psnr": psnr(x, y, mask=mask),
    "ssim": ssim(x, y, mask=mask),
    "slopes": gradient_difference(x, y, mask=mask),
  }


measure = on_host(measures)


@on_host
def gradients(x, y, mask):
  """By the first frames of the sum of each."""

  def total(x, name):
    return measures(x, y, mask)[name].sum()

  return {n: jax.grad(total)(x, n) for n in ("psnr", "ssim", "slopes")}


@pytest.fixture
def pair(rng):
  """Frames, and the same ones brighter or darker and noisy."""
  x = rng.random(SHAPE)
  y = np.clip(0.7 * x + 0.2 + 0.1 * rng.normal(size=SHAPE), 0, 1)
  return x.astype(np.float32), y.astype(np.float32)


ALL = np.ones(LEAD, bool)


def slow_ssim(x, y):
  """Of one channel, window by window and pixel by pixel."""
  middle = WINDOW // 2
  weight = np.zeros((WINDOW, WINDOW))
  for i, j in np.ndindex(weight.shape):
    square = (i - middle) ** 2 + (j - middle) ** 2
    weight[i, j] = np.exp(-square / (2 * SIGMA**2))
  weight /= weight.sum()
  found = []
  for i in range(x.shape[0] - WINDOW + 1):
    for j in range(x.shape[1] - WINDOW + 1):
      p = x[i : i + WINDOW, j : j + WINDOW].astype(np.float64)
      q = y[i : i + WINDOW, j : j + WINDOW].astype(np.float64)
      m, n = (weight * p).sum(), (weight * q).sum()
      a, b = (weight * (p - m) ** 2).sum(), (weight * (q - n) ** 2).sum()
      c = (weight * (p - m) * (q - n)).sum()
      level = (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)
      found.append(level * (2 * c + 9e-4) / (a + b + 9e-4))
  return np.mean(found)


def slow_slopes(x, y):
  rows, columns = [], []
  for i, j, c in np.ndindex(x.shape):
    off = x[i, j, c] - y[i, j, c]
    if i:
      rows.append(abs(off - (x[i - 1, j, c] - y[i - 1, j, c])))
    if j:
      columns.append(abs(off - (x[i, j - 1, c] - y[i, j - 1, c])))
  return np.mean(rows) + np.mean(columns)


def test_equal_the_definitions(pair):
  x, y = pair
  found = measure(x, y, ALL)
  for at in np.ndindex(LEAD):
    p, q = x[at], y[at]
    expected = 10 * np.log10(1 / np.mean((p - q).astype(np.float64) ** 2))
    np.testing.assert_allclose(found["psnr"][at], expected, rtol=1e-5)
    expected = np.mean([slow_ssim(p[..., c], q[..., c]) for c in range(3)])
    np.testing.assert_allclose(found["ssim"][at], expected, atol=1e-5)
    expected = slow_slopes(p, q)
    np.testing.assert_allclose(found["slopes"][at], expected, rtol=1e-5)


def test_equal_scikit_image(pair):
  x, y = pair
  found = measure(x, y, ALL)
  for at in np.ndindex(LEAD):
    expected = peak_signal_noise_ratio(x[at], y[at], data_range=1)
    np.testing.assert_allclose(found["psnr"][at], expected, rtol=1e-5)
    expected = structural_similarity(
      x[at],
      y[at],
      data_range=1,
      gaussian_weights=True,
      sigma=SIGMA,
      use_sample_covariance=False,
      channel_axis=-1,
    )
    np.testing.assert_allclose(found["ssim"][at], expected, atol=1e-5)


def test_levels_and_shares_are_the_same(pair):
  x, y = (np.rint(255 * frames).astype(np.uint8) for frames in pair)
  shares = measure(x / np.float32(255), y / np.float32(255), ALL)

  @jax.jit
  def of_levels(x, y):
    return {"psnr": psnr(x, y, max=255), "ssim": ssim(x, y, max=255)}

  for name, value in of_levels(x, y).items():
    np.testing.assert_allclose(value, shares[name], rtol=1e-4, err_msg=name)


def test_equal_frames_have_the_best_value(pair):
  x, _ = pair
  found = measure(x, x, ALL)
  assert (found["psnr"] == LARGEST_PSNR).all() and not found["slopes"].any()
  np.testing.assert_allclose(found["ssim"], 1, rtol=1e-6)
  for name, grads in gradients(x, x, ALL).items():
    assert np.isfinite(grads).all(), name


def test_the_mean_is_of_decibels(pair):
  x, y = pair
  y[0, 0] = x[0, 0] + 0.5
  each = measure(x, y, ALL)["psnr"]
  np.testing.assert_allclose(each[0, 0], 10 * np.log10(4), rtol=1e-5)
  pooled = 10 * np.log10(1 / np.mean((x - y) ** 2))
  assert real_mean(each) > pooled + 1


def test_a_constant_has_no_slope_and_a_worse_ssim(pair):
  x, _ = pair
  found = measure(x, x + np.float32(0.25), ALL)
  np.testing.assert_allclose(found["slopes"], 0, atol=1e-6)
  assert (found["ssim"] < 0.99).all()


def test_masked_frames_change_nothing(pair):
  x, y = pair
  mask = np.array([[True, True, False], [True, False, False]])
  before, slopes = measure(x, y, mask), gradients(x, y, mask)
  x[~mask], y[~mask] = np.nan, np.nan
  after, same = measure(x, y, mask), gradients(x, y, mask)
  whole = measure(*pair, ALL)
  for name in before:
    np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(same[name], slopes[name])
    np.testing.assert_allclose(after[name][mask], whole[name][mask], rtol=1e-6)
    assert not after[name][~mask].any() and not same[name][~mask].any()


@pytest.mark.parametrize("name", ["psnr", "ssim", "slopes"])
def test_gradients_are_those_of_differences(pair, rng, name):
  x, y = pair
  grads = gradients(x, y, ALL)[name]
  step = np.abs(rng.normal(size=SHAPE)).astype(np.float32)
  step *= 1e-3 * np.sign(grads)  # nothing cancels
  up, down = measure(x + step, y, ALL), measure(x - step, y, ALL)
  slope = (up[name].sum() - down[name].sum()) / 2
  np.testing.assert_allclose((grads * step).sum(), slope, rtol=2e-2)


def test_a_window_of_equal_weights_is_a_patch(rng):
  """Both kinds of SSIM are one formula."""
  x, y = rng.random((2, 4, 9)).astype(np.float32)
  m, n = x.mean(-1), y.mean(-1)
  c = ((x - m[:, None]) * (y - n[:, None])).mean(-1)
  expected = (2 * m * n + 1e-4) / (m * m + n * n + 1e-4)
  expected *= (2 * c + 9e-4) / (x.var(-1) + y.var(-1) + 9e-4)
  np.testing.assert_allclose(jax.jit(patch_ssim)(x, y), expected, rtol=1e-4)


def test_what_is_wrong_is_named(pair):
  x, y = pair
  with pytest.raises(ValueError, match="11 x 11 pixels or more, got 14 x 9"):
    ssim(x[..., :9, :], y[..., :9, :])
  with pytest.raises(ValueError, match="one shape"):
    psnr(x, y[:1])
  with pytest.raises(ValueError, match=r"leading axes .*, got \(3, 2\)"):
    psnr(x, y, mask=ALL.T)
  for measured in (psnr, ssim):
    with pytest.raises(ValueError, match="max must be positive, got 0"):
      measured(x, y, max=0)
  with pytest.raises(ValueError, match=r"2 x 2 pixels .*, got \(1, 12\)"):
    gradient_difference(x[..., :1, :, :], y[..., :1, :, :])


def test_means_are_over_what_is_real():
  x = np.array([[1, 2], [np.nan, 8], [np.nan, np.nan]], np.float32)
  mask = np.array([[True, True], [False, True], [False, False]])

  @jax.jit
  def means(x):
    return [
      real_mean(x, mask),
      real_mean(x[:2], np.array([True, False])),
      real_mean(x, np.zeros(3, bool)),
      real_mean(jnp.array([1, 2])),
      only_real(x, mask),
    ]

  *found, kept = means(x)
  np.testing.assert_allclose(found, [11 / 3, 1.5, 0, 1.5], rtol=1e-6)
  assert kept.tolist() == [[1, 2], [0, 8], [0, 0]]
