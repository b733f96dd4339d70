"""Tracks of a whole clip at once, by merging the graph of its superpixels."""

import numpy as np

from trajvit.data.extract.keyframes import find_cuts
from trajvit.data.extract.region_graph import region_graph
from trajvit.data.extract.ward import merge_regions
from trajvit.data.tracks import limit_tracks

# The cost of a merge at which two tracks stay apart: squared difference in
# appearance times the share of its shot that the smaller one fills.
_LIMIT = 0.35


def graph_tracks(frames: np.ndarray, max_tracks: int) -> np.ndarray:
  """Returns regions that are followed through a clip, without learning.

  Superpixels are linked to their neighbours in a frame and, along the optical
  flow, in the next one. Merging the most alike first grows them in space and
  time together, so that a track is decided by all frames that it is seen in,
  and where it goes is never a matter of the order of the frames. After
  hierarchical graph-based video segmentation, Grundmann et al., CVPR 2010,
  with Ward's cost in place of theirs.

  Args:
    frames: [T, H, W, 3] uint8 RGB.
    max_tracks: M.

  Returns:
    [T, H, W] int32 label map in [0, M) or -1; every pixel has a track unless
    shots that nothing connects give more than M.
  """
  cuts = find_cuts(frames)
  graph = region_graph(frames, cuts)
  clusters = merge_regions(
    _share_of_shot(graph, cuts),
    graph.mean,
    graph.edges,
    graph.gap,
    limit=_LIMIT,
    max_regions=max_tracks,
  )
  return limit_tracks(clusters[graph.ids], max_tracks)[0]


def _share_of_shot(graph, cuts: list[int]) -> np.ndarray:
  """Returns [R] how much of its shot each superpixel fills.

  So the shots of a clip come in equal detail, however short.
  """
  starts = np.array([0, *cuts])
  lengths = np.diff([*starts, len(graph.ids)])
  shot = np.searchsorted(starts, np.arange(len(graph.ids)), "right") - 1
  frame = np.empty(len(graph.area), np.int64)
  frame[graph.ids] = np.arange(len(graph.ids))[:, None, None]
  return graph.area / (lengths[shot[frame]] * graph.ids[0].size)
