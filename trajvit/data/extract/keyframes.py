"""Cuts of a clip, and the frames at which its regions are detected anew."""

import cv2
import numpy as np

_CONTENT_CUT = 27.0
_ADAPTIVE_CONTENT = 10.0  # change that the adaptive detector takes notice of
_CORRELATION_CUT = 0.85
_CHUNKS = 4  # pieces of a clip without cuts


def key_frames(frames: np.ndarray) -> list[int]:
  """Returns the cuts of a clip and every quarter of it, from 0 up.

  TrajViT (arXiv:2505.23617) takes one or the other; both together also find
  what comes into view in a long shot.

  Args:
    frames: [T, H, W, 3] uint8 RGB.

  Returns:
    Sorted frame numbers, the first of them 0.
  """
  regular = np.arange(_CHUNKS) * len(frames) // _CHUNKS
  return sorted({*regular.tolist(), *find_cuts(frames)})


def find_cuts(frames: np.ndarray) -> list[int]:
  """Returns the first frame of every shot but the first one, sorted.

  A cut spreads brightness differently, and changes hue, saturation and value
  by much, or by more than the frames around it do. TrajViT lets these three
  detectors of PySceneDetect vote, with the same thresholds, two against one;
  here the histogram must be among the two, because the other ones measure the
  same change and take a shaking camera for cuts.

  Args:
    frames: [T, H, W, 3] uint8 RGB.
  """
  if len(frames) < 2:
    return []
  change = content_change(frames)
  different = histogram_correlation(frames) <= _CORRELATION_CUT
  changed = (change >= _CONTENT_CUT) | _stands_out(change)
  return np.flatnonzero(different & changed).tolist()


def content_change(frames: np.ndarray) -> np.ndarray:
  """Returns [T] float64, the mean |HSV_t - HSV_{t-1}|, 0 in the first frame.

  Hue goes from 0 to 179, saturation and value from 0 to 255.
  """
  hsv = np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2HSV) for f in frames])
  step = np.abs(np.diff(hsv.astype(np.int16), axis=0)).mean((1, 2, 3))
  return np.concatenate([[0.0], step])


def histogram_correlation(frames: np.ndarray) -> np.ndarray:
  """Returns [T] float64, how alike the brightness of t and t - 1 is spread.

  Pearson's correlation of histograms of 256 bins, 1 in the first frame and for
  two flat histograms.
  """
  counts = [
    np.bincount(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY).ravel(), minlength=256)
    for f in frames
  ]
  counts = np.stack(counts) - np.mean(counts, axis=1, keepdims=True)  # [T, 256]
  norm = np.linalg.norm(counts, axis=1)
  both = norm[1:] * norm[:-1]
  product = np.einsum("tb,tb->t", counts[1:], counts[:-1])
  alike = np.divide(product, both, out=np.ones_like(both), where=both > 0)
  return np.concatenate([[1.0], alike])


def _stands_out(change) -> np.ndarray:
  """Whether a frame changes at least as much as the mean of its neighbours."""
  out = np.zeros(len(change), bool)
  around = (change[:-2] + change[2:]) / 2
  enough = change[1:-1] >= _ADAPTIVE_CONTENT
  out[1:-1] = enough & (change[1:-1] >= around)
  return out
