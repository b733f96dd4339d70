"""Tracks of long videos: chunk by chunk, ids carried on, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from track_scenes import blocks

from trajvit.data.extract.chunks import chunked_tracks
from trajvit.data.extract.link import link, link_labels


def whole(labels, chunk):
  """The tracks of a clip whose chunks have the labels of `labels`."""

  def extract(part):
    present = np.unique(part[part >= 0])
    numbers = np.full(int(labels.max()) + 2, -1, np.int32)
    numbers[present] = np.arange(len(present))
    return numbers[part]

  pieces = chunked_tracks(
    lambda start, stop: labels[start:stop],
    len(labels),
    chunk,
    extract,
  )
  return np.concatenate(list(pieces))


def objects(frames=23):
  """Two squares that stay, one gone in the middle and one that comes late."""
  masks = blocks((0, 0), (5, 5), (0, 5), (5, 0))
  labels = np.full((frames, 8, 8), -1, np.int32)
  for i, mask in enumerate(masks):
    labels[:, mask] = i
  labels[8:15, masks[2]] = -1
  labels[:12, masks[3]] = -1
  return labels, masks


@pytest.mark.parametrize("chunk", [2, 5, 8, 23, 99])
def test_numbers_are_carried_through_all_chunks(chunk):
  labels, masks = objects()
  found = whole(labels, chunk)
  assert found.shape == labels.shape and found.dtype == np.int32
  assert np.array_equal(found >= 0, labels >= 0)
  for mask in masks[:2]:
    assert len(np.unique(found[:, mask])) == 1
  assert len(np.unique(found[12:, masks[3]])) == 1
  numbers = [set(np.unique(found[:, mask])) - {-1} for mask in masks]
  assert sum(map(len, numbers)) == len(set().union(*numbers))


def test_a_track_that_has_ended_stays_ended():
  labels, masks = objects()
  before, after = ({*whole(labels, 4)[t, masks[2]]} for t in (7, 15))
  assert len(before) == len(after) == 1 and before != after
  assert np.array_equal(whole(labels, 99), labels)  # one chunk sees it again


def test_chunks_overlap_by_one_frame():
  ranges = []

  def read(start, stop):
    ranges.append((start, stop))
    return np.zeros((stop - start, 2, 2), np.int32)

  for frames, expected in (
    (1, [(0, 1)]),
    (4, [(0, 4)]),
    (5, [(0, 4), (3, 5)]),
    (7, [(0, 4), (3, 7)]),
    (8, [(0, 4), (3, 7), (6, 8)]),
  ):
    ranges.clear()
    pieces = list(chunked_tracks(read, frames, 4, lambda part: part))
    assert ranges == expected
    assert sum(map(len, pieces)) == frames
  with pytest.raises(
    ValueError, match="chunk must be at least 2 frames, got 1"
  ):
    next(chunked_tracks(read, 9, 1, lambda part: part))


def test_linking_label_maps_is_linking_their_masks(rng):
  for _ in range(20):
    old, new = rng.integers(-1, 4, (2, 5, 5)).astype(np.int32)
    new = np.where(rng.random((5, 5)) < 0.7, old + 10, new + 10)
    new[new == 9] = -1
    labels, parent = link_labels(old, new, 0.3)
    assert labels.tolist() == np.unique(new[new >= 0]).tolist()
    tracks = np.unique(old[old >= 0])
    expected = link(
      old == tracks[:, None, None], new == labels[:, None, None], 0.3
    )
    assert parent.tolist() == np.append(tracks, -1)[expected].tolist()


def test_nothing_to_link():
  none = np.full((4, 4), -1, np.int32)
  some = np.zeros((4, 4), np.int32)
  assert [x.tolist() for x in link_labels(none, some)] == [[0], [-1]]
  assert [x.tolist() for x in link_labels(some, none)] == [[], []]


def test_memory_is_that_of_a_chunk():
  def extract(frames):
    return np.repeat((frames[:1, ..., 0] > 99).astype(np.int32), len(frames), 0)

  def read(start, stop):
    frames = np.zeros((stop - start, 96, 96, 3), np.uint8)
    frames[:, 20:40, 20:40] = 200
    return frames

  def peak(frames):
    tracemalloc.start()
    for labels in chunked_tracks(read, frames, 8, extract):
      assert labels.max() == 1
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found

  chunk = 8 * 96 * 96 * 4  # bytes of labels
  assert peak(256) < 1.1 * peak(64)
  assert peak(64) < 4 * chunk
