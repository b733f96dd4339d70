"""Track sidecars: round trips, label maps by hand, and every rejection."""

import os
import re
import zipfile

import numpy as np
import pytest

from trajvit.data.tracks import (
  compact_tracks,
  label_map,
  limit_tracks,
  load_sidecars,
  read_sidecars,
  sidecar_arrays,
  sidecar_paths,
  write_sidecars,
)


def _random_labels(rng, tracks, shape=(4, 9, 7)):
  return rng.integers(-1, tracks, shape).astype(np.int32)


def _save(folder, mask, graph):
  paths = str(folder / "clip_mask.npz"), str(folder / "clip_graph.npz")
  np.savez_compressed(paths[0], mask)  # unnamed, hence arr_0
  np.savez_compressed(paths[1], tensor=graph)
  return paths


def test_label_map_golden():
  """The example that the format's description works through."""
  mask = np.array([[[0, 2], [1, 1]], [[2, 2], [0, 3]]], np.uint8)
  graph = np.array([[1, 0], [2, 2], [0, 3], [0, 0]])
  labels = label_map(mask, graph)
  assert labels.dtype == np.int32
  assert labels.tolist() == [[[-1, 1], [0, 0]], [[1, 1], [-1, 2]]]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_label_map_is_the_definition(rng, dtype):
  """Against a loop; with ids no row claims, and rows whose id has no pixel."""
  mask = rng.integers(0, 12, (5, 6, 4)).astype(dtype)
  graph = np.stack([rng.permutation(15)[:9] for _ in range(5)], axis=1)
  labels = label_map(mask, graph)
  for (t, y, x), label in np.ndenumerate(labels):
    rows = np.flatnonzero((graph[:, t] == mask[t, y, x]) & (graph[:, t] > 0))
    assert label == (rows[0] if len(rows) else -1)


def test_track_permutation(rng):
  mask, graph = sidecar_arrays(_random_labels(rng, 6))
  order = rng.permutation(len(graph))
  labels = label_map(mask, graph[order])
  np.testing.assert_array_equal(
    np.append(order, -1)[labels], label_map(mask, graph)
  )


@pytest.mark.parametrize(("tracks", "dtype"), [(6, "uint8"), (400, "uint16")])
def test_round_trip_through_files(tmp_path, rng, tracks, dtype):
  labels = _random_labels(rng, tracks, (3, 40, 30))
  labels[labels == 2] = -1  # a label that never occurs keeps its row
  labels[1][labels[1] == 0] = -1  # a track absent from a frame
  paths = sidecar_paths(tmp_path / "clip_short.mp4")
  write_sidecars(*paths, labels)
  np.testing.assert_array_equal(read_sidecars(*paths, 3), labels)
  assert sorted(os.listdir(tmp_path)) == ["clip_graph.npz", "clip_mask.npz"]

  mask, graph = load_sidecars(*paths)
  assert mask.dtype == dtype and graph.dtype == np.int64
  assert graph.shape == (tracks, 3) and not graph[2].any()
  for t in range(3):  # ids 1..n_t, each in one row
    ids = np.unique(mask[t])
    assert ids[ids > 0].tolist() == list(range(1, (graph[:, t] > 0).sum() + 1))


def test_no_tracks_at_all(tmp_path):
  labels = np.full((2, 3, 4), -1, np.int32)
  mask, graph = sidecar_arrays(labels)
  assert graph.shape == (0, 2) and not mask.any()
  np.testing.assert_array_equal(label_map(mask, graph), labels)


def test_image(tmp_path):
  mask = np.array([[0, 3], [1, 3]], np.uint8)
  path, _ = _save(tmp_path, mask, np.zeros(0))
  labels = read_sidecars(path, None, 1)
  assert labels.tolist() == [[[-1, 2], [0, 2]]]


def test_image_round_trip(tmp_path):
  path, graph = sidecar_paths(tmp_path / "a.png")
  labels = np.array([[[-1, 1], [0, 1]]], np.int32)
  write_sidecars(path, None, labels)
  np.testing.assert_array_equal(read_sidecars(path, None, 1), labels)
  assert not os.path.exists(graph)
  for wrong, count in (labels.repeat(2, 0), 2), (labels + (labels > 0), 1):
    with pytest.raises(ValueError, match=f"got {count} frames and "):
      write_sidecars(path, None, wrong)


@pytest.mark.parametrize(
  ("video", "stem"),
  [
    ("a/clip.mp4", "a/clip"),
    ("a/clip_short.mp4", "a/clip"),
    ("b.c.mkv", "b.c"),
    ("short.mp4", "short"),
  ],
)
def test_sidecar_paths(video, stem):
  assert sidecar_paths(video) == (f"{stem}_mask.npz", f"{stem}_graph.npz")


MASK = np.array([[[0, 1], [2, 2]]] * 3, np.uint8)  # [3, 2, 2]
GRAPH = np.array([[1, 1, 1], [2, 2, 2]])


@pytest.mark.parametrize(
  ("mask", "graph", "message"),
  [
    (
      MASK[:2],
      GRAPH[:, :2],
      "clip_mask.npz: 2 frames of tracks for a clip of",
    ),
    (MASK, GRAPH[:, :2], "clip_graph.npz: a graph of 2 frames, "),
    (
      MASK[0],
      GRAPH,
      "the mask of a video must be [T, H, W] integers, got",
    ),
    (MASK, GRAPH[0], "a graph must be [M, T] integers, got int64 (3,)"),
    (MASK.astype(float), GRAPH, "expected integers, got float64"),
    (MASK, GRAPH.astype(float), "expected integers, got float64 (2, 3)"),
    (MASK, GRAPH + [[0], [300]], "graph ids must be from 0 to 255, got 302"),
    (
      MASK.astype(np.int64),
      GRAPH + [[0], [70_000]],
      "graph ids must be from 0 to 65535, got 70002",
    ),
    (MASK, GRAPH - [[3], [0]], "graph ids must be from 0 to 255, got -2"),
    (
      MASK.astype(np.int8) - 1,
      GRAPH,
      "mask ids must be from 0 to 127, got -1",
    ),
    (
      MASK,
      np.array([[1, 1, 1], [2, 1, 2]]),
      "clip_graph.npz: id 1 of frame 1 is in rows [0, 1] of the graph",
    ),
  ],
)
def test_rejected(tmp_path, mask, graph, message):
  paths = _save(tmp_path, mask, graph)
  with pytest.raises(ValueError, match=re.escape(message)) as error:
    read_sidecars(*paths, 3)
  assert str(error.value).startswith(str(tmp_path))


def test_image_mask_of_a_video_is_rejected(tmp_path):
  path, _ = _save(tmp_path, MASK, GRAPH)
  with pytest.raises(ValueError, match=r"of an image must be \[H, W\]"):
    read_sidecars(path, None, 1)


def test_files_that_are_not_sidecars(tmp_path):
  mask, graph = _save(tmp_path, MASK, GRAPH)
  with pytest.raises(ValueError, match=r"the key 'tensor', got \['arr"):
    read_sidecars(graph.replace("graph", "mask"), mask, 3)

  text = tmp_path / "text.npz"
  text.write_text("not an archive")
  with pytest.raises(ValueError, match="text.npz: expected an npz file"):
    read_sidecars(str(text), graph, 3)

  with open(mask, "rb") as file:
    content = bytearray(file.read())
  content[60:70] = bytes(10)  # inside the compressed array
  damaged = tmp_path / "damaged.npz"
  damaged.write_bytes(content)
  with pytest.raises(ValueError, match="damaged.npz: "):
    read_sidecars(str(damaged), graph, 3)

  with pytest.raises(FileNotFoundError):
    read_sidecars(str(tmp_path / "none.npz"), graph, 3)


class _Bomb:
  """Its pickle, once loaded, makes a folder."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (self.path,)


def test_pickles_are_never_loaded(tmp_path):
  bomb = np.array([_Bomb(str(tmp_path / "exploded"))], dtype=object)
  mask, graph = _save(tmp_path, MASK, bomb)
  with pytest.raises(ValueError, match="clip_graph.npz: expected integers"):
    read_sidecars(mask, graph, 3)
  with zipfile.ZipFile(mask, "w") as archive:
    archive.writestr("arr_0.npy", b"\x80\x04N.")  # a bare pickle
  with pytest.raises(ValueError, match="clip_mask.npz: EOF: reading magic"):
    read_sidecars(mask, graph, 3)
  assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
  "labels", [np.full((2, 2, 2), -2), np.zeros((2, 2), int), np.zeros((2, 2, 2))]
)
def test_sidecar_arrays_refuses_what_is_no_label_map(labels):
  with pytest.raises(ValueError, match=r"labels must be \[T, H, W\]"):
    sidecar_arrays(labels)


def test_failed_write_leaves_the_old_file(tmp_path, rng, monkeypatch):
  paths = sidecar_paths(tmp_path / "clip.mp4")
  labels = _random_labels(rng, 3)
  write_sidecars(*paths, labels)

  def broken(file, **arrays):
    file.write(b"half a f")
    raise OSError("disk full")

  monkeypatch.setattr(np, "savez_compressed", broken)
  with pytest.raises(OSError, match="disk full"):
    write_sidecars(*paths, labels[::-1])
  np.testing.assert_array_equal(read_sidecars(*paths, 4), labels)
  assert len(os.listdir(tmp_path)) == 2


def test_limit_tracks_keeps_the_largest():
  labels = np.array([[[0, 2, 2, 2, 5, 5, 7, -1]]], np.int32)
  limited, dropped = limit_tracks(labels, 2)
  assert limited.tolist() == [[[-1, 0, 0, 0, 1, 1, -1, -1]]] and dropped == 2
  assert limited.dtype == np.int32
  limited, dropped = limit_tracks(labels, 3)  # of two equal ones, the lower
  assert limited.tolist() == [[[0, 1, 1, 1, 2, 2, -1, -1]]] and dropped == 1
  assert limit_tracks(labels, 0)[1] == 4


def test_limit_tracks_against_a_loop(rng):
  labels = _random_labels(rng, 20) * 3
  labels[labels < 0] = -1
  limited, dropped = limit_tracks(labels, 12)
  names = sorted(set(labels[labels >= 0].tolist()))
  ranked = sorted(names, key=lambda name: (-(labels == name).sum(), name))
  for new, name in enumerate(sorted(ranked[:12])):
    np.testing.assert_array_equal(limited == new, labels == name)
  assert dropped == len(names) - 12 and limited.max() == 11


def test_compact_tracks(rng):
  labels = np.array([[[9, -1], [4, 9]]], np.int32)
  assert compact_tracks(labels).tolist() == [[[1, -1], [0, 1]]]
  empty = np.full((1, 2, 2), -1, np.int32)
  np.testing.assert_array_equal(compact_tracks(empty), empty)
