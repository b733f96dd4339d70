"""Small clips whose tracks are known."""

import numpy as np

BACKGROUND = (70, 90, 60)


def moving_square(
  frames=8, size=64, side=16, step=3, color=(200, 60, 40), noise=3
):
  """A square that moves right over a plain background; and where it is."""
  rng = np.random.default_rng(0)
  clip = np.full((frames, size, size, 3), BACKGROUND, np.int64)
  inside = np.zeros((frames, size, size), bool)
  top = (size - side) // 2
  for t in range(frames):
    left = size // 10 + step * t
    inside[t, top : top + side, left : left + side] = True
  clip[inside] = color
  clip += rng.integers(-noise, noise + 1, clip.shape)
  return clip.astype(np.uint8), inside


def best_iou(labels, inside):
  """The volume IoU of the track that covers `inside` [T, H, W] best."""
  ious = [
    ((labels == i) & inside).sum() / ((labels == i) | inside).sum()
    for i in np.unique(labels[labels >= 0])
  ]
  return max(ious, default=0.0)


def blocks(*corners, size=8, side=2):
  """Masks [n, size, size] of squares at (row, column)."""
  masks = np.zeros((len(corners), size, size), bool)
  for mask, (row, column) in zip(masks, corners, strict=True):
    mask[row : row + side, column : column + side] = True
  return masks
