"""The graph of a clip's superpixels: neighbours in space and over time."""

import dataclasses

import numpy as np

from trajvit.data.extract.flow import dense_flow, follow
from trajvit.data.extract.superpixels import appearance, superpixels

# A gap is what an edge adds to the difference of two regions' mean appearance,
# in the same units.
_CONTRAST_WEIGHT = 0.2
_MOTION_WEIGHT = 200.0  # per frame width that the two move apart in one step
_MAX_MOTION_GAP = 15.0
_TEMPORAL_GAP = 4.0  # when almost no pixel arrives
_MIN_ARRIVED = 0.3  # share of the smaller superpixel
_SAME_APPEARANCE = 25.0  # between a pixel and where the flow says it went


@dataclasses.dataclass(frozen=True)
class RegionGraph:
  """Superpixels of a clip and which of them touch.

  Attributes:
    ids: [T, H, W] int64 in [0, R), the superpixel of each pixel.
    area: [R] float64, in pixels.
    mean: [R, 3] float64, mean appearance.
    edges: [E, 2] int64, pairs i < j, each at most once.
    gap: [E] float64, at least 0: how far apart an edge holds its ends.
  """

  ids: np.ndarray
  area: np.ndarray
  mean: np.ndarray
  edges: np.ndarray
  gap: np.ndarray


def region_graph(frames: np.ndarray, cuts: list[int]) -> RegionGraph:
  """Returns the graph of a clip.

  Two superpixels of one frame that touch have an edge whose gap grows with the
  contrast along their border and with the difference of their motion. Two of
  consecutive frames have one if flow takes enough pixels, unchanged in
  appearance, from one to the other.

  Args:
    frames: [T, H, W, 3] uint8 RGB.
    cuts: frames that no edge leads to from the frame before.
  """
  ids, count = superpixels(frames)
  pixels = appearance(frames)
  flow = dense_flow(frames)
  area = np.bincount(ids.ravel(), minlength=count).astype(np.float64)
  mean = _mean(ids, pixels, area)
  # The last frame moves on as the one before did; a single one stands still.
  motion = (
    np.concatenate([flow, flow[-1:]]) if len(flow) else pixels[..., :2] * 0
  )
  motion = _mean(ids, motion, area) / frames.shape[2]

  spatial, contrast = _borders(ids, pixels, count)
  apart = np.linalg.norm(motion[spatial[:, 0]] - motion[spatial[:, 1]], axis=1)
  motion_gap = np.minimum(_MOTION_WEIGHT * apart, _MAX_MOTION_GAP)
  edges, gaps = [spatial], [_CONTRAST_WEIGHT * contrast + motion_gap]
  for t in range(len(flow)):
    if t + 1 not in cuts:
      pairs, arrived = _arrivals(
        ids[t : t + 2], pixels[t : t + 2], flow[t], area
      )
      edges.append(pairs)
      gaps.append(_TEMPORAL_GAP * (1 - arrived))
  return RegionGraph(
    ids, area, mean, np.concatenate(edges), np.concatenate(gaps)
  )


def _mean(ids, values, area) -> np.ndarray:
  """Averages `values` [T, H, W, C] over every superpixel: [R, C]."""
  sums = [
    np.bincount(ids.ravel(), channel.ravel(), len(area))
    for channel in np.moveaxis(values, -1, 0)
  ]
  return np.stack(sums, axis=1) / area[:, None]


def _borders(ids, pixels, count) -> tuple[np.ndarray, np.ndarray]:
  """Returns the pairs that touch in a frame, and the contrast between them."""
  keys, steps = [], []
  for axis in (1, 2):
    one = np.take(ids, range(ids.shape[axis] - 1), axis)
    other = np.take(ids, range(1, ids.shape[axis]), axis)
    where = np.nonzero(one != other)
    one, other = one[where], other[where]
    keys.append(np.minimum(one, other) * count + np.maximum(one, other))
    step = np.diff(pixels, axis=axis)[where]
    steps.append(np.sqrt(np.einsum("pc,pc->p", step, step)))
  keys, which, length = np.unique(
    np.concatenate(keys), return_inverse=True, return_counts=True
  )
  contrast = np.bincount(which, np.concatenate(steps), len(keys)) / length
  return np.stack([keys // count, keys % count], axis=1), contrast


def _arrivals(ids, pixels, flow, area) -> tuple[np.ndarray, np.ndarray]:
  """Returns the pairs that flow joins, and the share of pixels it carries."""
  inside, rows, columns = follow(flow)
  step = pixels[0][inside] - pixels[1][rows, columns]
  same = np.einsum("pc,pc->p", step, step) < _SAME_APPEARANCE**2
  source, target = ids[0][inside][same], ids[1][rows, columns][same]
  keys, moved = np.unique(source * len(area) + target, return_counts=True)
  pairs = np.stack([keys // len(area), keys % len(area)], axis=1)
  share = np.minimum(moved / area[pairs].min(axis=1), 1)
  kept = share > _MIN_ARRIVED
  return pairs[kept], share[kept]
