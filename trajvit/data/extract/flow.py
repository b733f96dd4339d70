"""Dense optical flow between the frames of a clip."""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np

_MIN_SIDE = 32  # pixels; the coarsest level of the pyramid needs that many


def dense_flow(frames: np.ndarray) -> np.ndarray:
  """Returns where every pixel goes from each frame to the next.

  Source: DIS optical flow, Kroeger et al., arXiv:1603.03590, as in OpenCV.

  Args:
    frames: [T, H, W, 3] uint8 RGB; smaller ones than 32 pixels are enlarged
      to estimate the flow.

  Returns:
    [T - 1, H, W, 2] float32, (x, y) in pixels.
  """
  height, width = frames.shape[1:3]
  enlarge = max(1.0, _MIN_SIDE / min(height, width))
  size = (round(width * enlarge), round(height * enlarge))
  gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
  if enlarge > 1:
    gray = [cv2.resize(frame, size) for frame in gray]
  flows = np.empty((len(frames) - 1, height, width, 2), np.float32)
  estimator = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
  with _one_thread():
    for t in range(len(flows)):
      flow = estimator.calc(gray[t], gray[t + 1], None)
      if enlarge > 1:
        flow = cv2.resize(flow, (width, height)) / np.float32(enlarge)
      flows[t] = flow
  return flows


def follow(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Returns the pixels of a frame that stay in view, and where they go.

  Args:
    flow: [H, W, 2] float32, (x, y) in pixels.

  Returns:
    inside: [H, W] bool, the target lies in the frame.
    rows: [P] int64 target rows of the P pixels inside, in raster order.
    columns: [P] int64 target columns.
  """
  height, width = flow.shape[:2]
  columns = np.rint(np.arange(width) + flow[..., 0]).astype(np.int64)
  rows = np.rint(np.arange(height)[:, None] + flow[..., 1]).astype(np.int64)
  inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
  return inside, rows[inside], columns[inside]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
  """Runs OpenCV on one thread: DIS depends on how it splits the rows."""
  threads = cv2.getNumThreads()
  cv2.setNumThreads(1)
  try:
    yield
  finally:
    cv2.setNumThreads(threads)
