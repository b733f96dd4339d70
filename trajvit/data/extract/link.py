"""From masks in chunks of a clip to tracks through all of it.

A chunk reaches from one key frame to the next one, that one included, so that
there the masks that were followed meet those that were found anew. Source:
TrajViT, arXiv:2505.23617, with one difference: there, two new masks may
continue one track, and the second takes the place of the first.
"""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

_IOU = 0.5


def link(
  tracked: np.ndarray, fresh: np.ndarray, iou: float = _IOU
) -> np.ndarray:
  """Returns which tracked mask each fresh mask of the same frame continues.

  The matching is one to one and has the largest sum of IoU over the pairs
  that have at least `iou`.

  Args:
    tracked: [n, H, W] bool.
    fresh: [m, H, W] bool.
    iou: above 0.

  Returns:
    [m] int64, an index in [0, n), or -1 for a mask that starts a track.
  """
  old, new = (masks.astype(np.float32) for masks in (tracked, fresh))
  # Counts of pixels are exact in float32 below 2**24.
  both = np.einsum("nhw,mhw->nm", old, new, optimize=True)
  union = old.sum((1, 2))[:, None] + new.sum((1, 2)) - both
  return partners(both / np.maximum(union, 1), iou)


def link_labels(
  tracked: np.ndarray, fresh: np.ndarray, iou: float = _IOU
) -> tuple[np.ndarray, np.ndarray]:
  """Like `link`, for two label maps of one frame.

  Args:
    tracked: [H, W] signed integers, the track of each pixel or -1.
    fresh: [H, W] likewise, with other numbers.
    iou: above 0.

  Returns:
    labels: [m] those of `fresh`, ascending, -1 not among them.
    parent: [m] the label of `tracked` that each continues, or -1.
  """
  old, rows = np.unique(tracked, return_inverse=True)
  new, columns = np.unique(fresh, return_inverse=True)
  shape = len(old), len(new)
  cells = rows.ravel() * shape[1] + columns.ravel()
  both = np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
  union = both.sum(1)[:, None] + both.sum(0) - both
  overlap = (both / union)[old >= 0][:, new >= 0]
  old, new = old[old >= 0], new[new >= 0]
  return new, np.append(old, -1)[partners(overlap, iou)]


def partners(overlap: np.ndarray, iou: float = _IOU) -> np.ndarray:
  """Returns the row that each column is paired with, [m] int64, or -1.

  Args:
    overlap: [n, m] IoUs.
    iou: above 0; see `link`.
  """
  overlap = np.where(overlap < iou, 0, overlap)
  rows, columns = linear_sum_assignment(overlap, maximize=True)
  partner = np.full(overlap.shape[1], -1, np.int64)
  partner[columns] = np.where(overlap[rows, columns] > 0, rows, -1)
  return partner


def build_graph(
  chunks: Sequence[np.ndarray], iou: float = _IOU
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the sidecar arrays of a clip from the masks of its chunks.

  Args:
    chunks: [L_c, n_c, H, W] bool each; mask i of a chunk is one thing in all
      its frames. The last frame of a chunk is the first of the next one, and
      what is stored of it are the fresh masks.
    iou: from which a fresh mask continues a track.

  Returns:
    mask: [T, H, W] uint8, or uint16 for over 255 masks in a frame: ids 1..n of
      each frame in the order of its masks, 0 = none. Of masks that overlap
      the smallest is in front; one that is empty or hidden has no id.
    graph: [M, T] int64, the id of each track in each frame, 0 = absent. Tracks
      are in order of appearance.
  """
  owners, numbers, next_track = [], [], 0
  for c, chunk in enumerate(chunks):
    track = np.full(chunk.shape[1], -1, np.int64)
    if c > 0:
      parent = link(chunks[c - 1][-1], chunk[0], iou)
      track = np.where(parent >= 0, np.append(numbers[-1], -1)[parent], -1)
    new = track < 0
    track[new] = next_track + np.arange(new.sum())
    next_track += int(new.sum())
    own = chunk if c == len(chunks) - 1 else chunk[:-1]
    owners += [paint(masks) for masks in own]
    numbers += [track] * len(own)

  mask = np.zeros((len(owners), *owners[0].shape), np.uint16)
  graph = np.zeros((next_track, len(owners)), np.int64)
  for t, (owner, track) in enumerate(zip(owners, numbers, strict=True)):
    seen = np.unique(owner[owner >= 0])
    ids = np.zeros(len(track) + 1, np.int64)  # the last entry serves owner -1
    ids[seen] = np.arange(1, len(seen) + 1)
    graph[track, t] = ids[:-1]
    mask[t] = ids[owner]
  if mask.max(initial=0) <= np.iinfo(np.uint8).max:
    mask = mask.astype(np.uint8)
  return mask, graph[graph.any(axis=1)]


def paint(masks: np.ndarray) -> np.ndarray:
  """Returns [H, W] int64, the smallest of `masks` [n, H, W] at a pixel, or -1.

  Of two that are equally large the later one is in front.
  """
  owner = np.full(masks.shape[1:], -1, np.int64)
  area = masks.sum(axis=(1, 2))
  for i in np.argsort(-area, kind="stable"):
    owner[masks[i]] = i
  return owner
