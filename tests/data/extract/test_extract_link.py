"""Masks of chunks become tracks, one to one."""

import itertools

import numpy as np
import pytest
from track_scenes import blocks

from trajvit.data.extract.link import build_graph, link, paint
from trajvit.data.tracks import label_map

A, B, C = (0, 0), (5, 5), (0, 5)


def still(masks, frames):
  return np.repeat(masks[None], frames, axis=0)


def test_toy_of_two_chunks():
  chunks = [still(blocks(A, B), 3), still(blocks(B, A, C), 2)]
  mask, graph = build_graph(chunks)
  assert graph.tolist() == [[1, 1, 2, 2], [2, 2, 1, 1], [0, 0, 3, 3]]
  assert mask.shape == (4, 8, 8) and mask.dtype == np.uint8
  assert mask[:, 0, 0].tolist() == [1, 1, 2, 2]
  assert mask[:, 0, 5].tolist() == [0, 0, 3, 3]


def test_two_fresh_masks_cannot_continue_one_track():
  tracked = np.ones((1, 4, 6), bool)
  fresh = np.zeros((2, 4, 6), bool)
  fresh[0, :, :4] = True  # IoU 2/3
  fresh[1, :, 1:] = True  # IoU 5/6
  assert link(tracked, fresh).tolist() == [-1, 0]
  graph = build_graph([still(tracked, 3), still(fresh, 2)])[1]
  assert graph.tolist() == [[1, 1, 2, 2], [0, 0, 1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_link_has_the_largest_sum_of_iou(seed):
  rng = np.random.default_rng(seed)
  tracked, fresh = (rng.random((n, 3, 4)) < 0.6 for n in (3, 4))
  iou = 0.3
  table = np.array(
    [[(a & b).sum() / max((a | b).sum(), 1) for b in fresh] for a in tracked]
  )
  table[table < iou] = 0
  best = max(
    sum(table[i, j] for i, j in enumerate(columns))
    for columns in itertools.permutations(range(4), 3)
  )
  parent = link(tracked, fresh, iou)
  got = sum(table[i, j] for j, i in enumerate(parent) if i >= 0)
  assert got == pytest.approx(best)
  used = parent[parent >= 0]
  assert len(set(used.tolist())) == len(used)
  assert all(table[i, j] >= iou for j, i in enumerate(parent) if i >= 0)


def test_iou_of_exactly_a_half_continues():
  tracked = np.zeros((1, 2, 4), bool)
  tracked[0, 0] = True
  fresh = np.ones((1, 2, 4), bool)
  assert link(tracked, fresh).tolist() == [0]
  assert link(tracked, fresh, 0.51).tolist() == [-1]


def test_nothing_tracked_or_nothing_fresh():
  none = np.zeros((0, 8, 8), bool)
  assert link(none, blocks(A)).tolist() == [-1]
  assert link(blocks(A), none).tolist() == []
  mask, graph = build_graph([still(none, 4)])
  assert not mask.any() and graph.shape == (0, 4)
  empty = np.zeros((1, 8, 8), bool)
  assert link(empty, empty).tolist() == [-1]


def test_a_lost_track_has_no_id_and_the_others_close_up():
  chunk = still(blocks(A, B), 4).copy()
  chunk[2:, 0] = False
  mask, graph = build_graph([chunk])
  assert graph.tolist() == [[1, 1, 0, 0], [2, 2, 1, 1]]
  assert mask[3, 5, 5] == 1


def test_a_small_mask_is_in_front_of_a_large_one():
  masks = np.zeros((2, 8, 8), bool)
  masks[0, :6] = True
  masks[1, 2:4, 2:4] = True
  for order in [0, 1], [1, 0]:
    small = order.index(1)
    assert (paint(masks[order]) == small).sum() == 4
  mask, graph = build_graph([still(masks, 2)])
  assert set(np.unique(mask)) == {0, 1, 2} and graph.tolist() == [
    [1, 1],
    [2, 2],
  ]


def test_over_255_masks_in_a_frame_are_kept_apart():
  corners = list(itertools.product(range(17), range(17)))
  masks = blocks(*corners, size=17, side=1)
  mask, graph = build_graph([masks[None]])
  assert mask.dtype == np.uint16 and mask.max() == len(graph) == 289
  assert np.array_equal(label_map(mask, graph)[0].ravel(), np.arange(289))


@pytest.mark.parametrize("seed", range(5))
def test_what_a_sidecar_pair_promises(seed):
  rng = np.random.default_rng(seed)
  starts = [0, 2, 3, 7]
  chunks = []
  for start, end in zip(starts, [*starts[1:], 8], strict=True):
    count = int(rng.integers(0, 5))
    chunks.append(rng.random((end - start + 1, count, 6, 7)) < 0.3)
  mask, graph = build_graph(chunks, 0.2)
  assert mask.shape == (9, 6, 7) and graph.shape[1] == 9
  for t in range(9):
    ids = np.unique(mask[t][mask[t] > 0])
    assert ids.tolist() == list(range(1, len(ids) + 1))
    claimed = graph[:, t][graph[:, t] > 0]
    assert sorted(claimed.tolist()) == ids.tolist()
  assert graph.any(axis=1).all()
