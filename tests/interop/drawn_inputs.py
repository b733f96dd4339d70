"""Inputs of the models whose outputs are in golden/."""

import numpy as np


def trajvit_inputs() -> dict:
  """Two clips: ids that change, one without a pixel, and padding."""
  rng = np.random.default_rng(1)
  mask = np.zeros((2, 3, 8, 16), np.uint8)
  mask[0, :, :4, :8], mask[0, :, 2:, 9:] = 1, 2
  mask[0, 1] = (3 - mask[0, 1]) * (mask[0, 1] > 0)  # ids are a frame's own
  mask[1, 0, 2:5, 3:9] = 1
  mask[1, 2, 0, 0] = 3
  graph = np.zeros((2, 4, 3), np.int64)
  graph[0, :2] = [[1, 2, 1], [2, 1, 2]]
  graph[0, 2] = [3, 0, 0]  # no pixel of this clip has it
  graph[1, 0] = [1, 0, 0]
  video = rng.normal(size=(2, 3, 3, 32, 64)).astype(np.float32)
  return dict(video=video, mask=mask, graph=graph)


def text_inputs() -> dict:
  """Two captions of up to five words."""
  ids = np.array([[5, 3, 9, 0, 0], [1, 2, 4, 6, 7]], np.int64)
  return dict(ids=ids, real=ids > 0)


def vit3d_video() -> np.ndarray:
  """Two clips of six frames, of 3 x 2 x 2 patches."""
  rng = np.random.default_rng(2)
  return rng.normal(size=(2, 6, 3, 16, 16)).astype(np.float32)


def titok_images() -> np.ndarray:
  """Two images of uint8."""
  rng = np.random.default_rng(3)
  return rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
