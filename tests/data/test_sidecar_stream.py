"""Sidecar pairs written and read a few frames at a time."""

import io
import pathlib
import tracemalloc

import numpy as np
import pytest

from trajvit.data.media import Blob
from trajvit.data.sidecar_stream import (
  count_tracks,
  open_sidecars,
  stream_labels,
)
from trajvit.data.sidecar_writer import SidecarWriter
from trajvit.data.tracks import (
  label_map,
  limit_tracks,
  load_sidecars,
  sidecar_arrays,
  write_sidecars,
)


def random_labels(rng, frames=7, tracks=5):
  """Labels from -1, every track in some of the frames."""
  labels = rng.integers(-1, tracks, (frames, 6, 5)).astype(np.int32)
  labels[0] %= 2  # fewer there
  return labels


def pair_in(folder):
  return str(folder / "a_mask.npz"), str(folder / "a_graph.npz")


def write(pair, labels, pieces, *, frame_tracks=200, max_tracks=1000):
  with SidecarWriter(
    *pair, labels.shape, frame_tracks=frame_tracks, max_tracks=max_tracks
  ) as writer:
    for piece in np.split(labels, pieces):
      writer.append(piece)
  return writer


@pytest.mark.parametrize("pieces", [[], [1], [2, 2, 5]])
def test_the_files_of_write_sidecars(tmp_path, rng, pieces):
  labels = random_labels(rng)
  for name in "streamed", "whole":
    (tmp_path / name).mkdir()
  writer = write(pair_in(tmp_path / "streamed"), labels, pieces)
  write_sidecars(*pair_in(tmp_path / "whole"), labels)
  assert (writer.tracks, writer.dropped) == (5, 0)
  for streamed, whole in zip(
    pair_in(tmp_path / "streamed"), pair_in(tmp_path / "whole"), strict=True
  ):
    assert pathlib.Path(streamed).read_bytes() == (
      pathlib.Path(whole).read_bytes()
    )


def test_more_than_255_tracks_in_a_frame(tmp_path):
  labels = np.arange(300, dtype=np.int32).reshape(1, 15, 20)
  pair = pair_in(tmp_path)
  write(pair, labels, [], frame_tracks=300)
  mask, graph = load_sidecars(*pair)
  assert mask.dtype == np.uint16
  assert np.array_equal(label_map(mask, graph), labels)


@pytest.mark.parametrize("most", [1, 3, 9])
def test_the_largest_tracks_of_a_video_are_kept(tmp_path, rng, most):
  labels = np.minimum(rng.integers(-1, 12, (6, 8, 8)), 7).astype(np.int32)
  labels[labels == 5] = 2  # a gap, and areas that differ
  pair = pair_in(tmp_path)
  writer = write(pair, labels, [2, 4], max_tracks=most)
  expected, dropped = limit_tracks(labels, most)
  assert writer.dropped == dropped
  assert writer.tracks == len(np.unique(labels[labels >= 0])) - dropped
  assert np.array_equal(label_map(*load_sidecars(*pair)), expected)


def test_no_track_at_all(tmp_path):
  pair = pair_in(tmp_path)
  writer = write(pair, np.full((3, 4, 4), -1, np.int32), [1])
  assert (writer.tracks, writer.dropped) == (0, 0)
  mask, graph = load_sidecars(*pair)
  assert not mask.any() and graph.shape == (0, 3)
  assert count_tracks(*pair, 3) == 0


@pytest.mark.parametrize("frames", [1, 3, 100])
def test_reading_in_pieces(tmp_path, rng, frames):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  write_sidecars(*pair, labels)
  pieces = list(stream_labels(*pair, frames))
  assert max(len(piece) for piece in pieces) == min(frames, 7)
  assert np.array_equal(np.concatenate(pieces), labels)
  with open_sidecars(*pair) as reader:
    assert reader.shape == (7, 6, 5)
    indices = np.array([5, 0, 5])
    assert np.array_equal(reader.labels_at(indices), labels[indices])
  assert count_tracks(*pair, 7) == 5
  assert count_tracks(*pair, 8) is None


def test_a_mask_in_fortran_order(tmp_path, rng):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  write_sidecars(*pair, labels)
  mask, _ = sidecar_arrays(labels)
  np.savez_compressed(pair[0], arr_0=np.asfortranarray(mask))
  assert np.array_equal(np.concatenate(list(stream_labels(*pair, 2))), labels)


def test_a_pair_in_memory(tmp_path, rng):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  write_sidecars(*pair, labels)
  blobs = [Blob(path, pathlib.Path(path).read_bytes()) for path in pair]
  assert np.array_equal(np.concatenate(list(stream_labels(*blobs, 3))), labels)


def test_frames_that_nobody_asked_for_may_be_damaged(tmp_path, rng):
  labels, pair = random_labels(rng, frames=99), pair_in(tmp_path)
  write_sidecars(*pair, labels)
  content = bytearray(pathlib.Path(pair[0]).read_bytes())
  content[-200] ^= 255
  pathlib.Path(pair[0]).write_bytes(content)
  with pytest.raises(ValueError, match="a_mask.npz: "):  # noqa: SIM117
    with open_sidecars(*pair) as reader:
      reader.labels_at(np.array([0]))


def test_a_failed_writer_leaves_what_was_there(tmp_path, rng):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  write_sidecars(*pair, labels)
  before = [pathlib.Path(path).read_bytes() for path in pair]

  def too_short():
    return SidecarWriter(*pair, (9, 6, 5), frame_tracks=9, max_tracks=9)

  with pytest.raises(KeyboardInterrupt), too_short() as writer:
    writer.append(labels)
    raise KeyboardInterrupt
  message = "expected 9 frames, got 7"
  with pytest.raises(ValueError, match=message), too_short() as writer:
    writer.append(labels)
  assert [pathlib.Path(path).read_bytes() for path in pair] == before
  assert len(list(tmp_path.iterdir())) == 2


def test_frames_that_do_not_fit(tmp_path, rng):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  with pytest.raises(ValueError, match="a_mask.npz: frame 1 has 5 tracks"):
    write(pair, labels, [], frame_tracks=4)
  few = SidecarWriter(*pair, (2, 6, 5), frame_tracks=9, max_tracks=9)
  message = r"\(2, 6, 5\) in all, got 0 frames"
  with pytest.raises(ValueError, match=message), few:
    few.append(labels)
  assert not list(tmp_path.iterdir())


def rewritten(path, array, cut=None):
  content = io.BytesIO()
  np.savez(content, arr_0=array)
  pathlib.Path(path).write_bytes(content.getvalue()[:cut])


def test_what_is_no_pair(tmp_path, rng):
  labels, pair = random_labels(rng), pair_in(tmp_path)
  mask, _ = sidecar_arrays(labels)

  def check(message, name):
    with pytest.raises(ValueError, match=f"{name}: .*{message}"):
      list(stream_labels(*pair, 2))
    assert count_tracks(*pair, 7) is None

  write_sidecars(*pair, labels)
  rewritten(pair[0], mask, cut=300)
  check("expected an npz file", "a_mask.npz")
  rewritten(pair[0], mask[0])
  check(r"must be \[T, H, W\] integers", "a_mask.npz")
  rewritten(pair[0], mask.astype(np.float32))
  check("expected integers, got float32", "a_mask.npz")
  rewritten(pair[0], np.array([None, {}]))
  check("expected integers, got object", "a_mask.npz")
  rewritten(pair[0], mask[:6])
  check("a graph of 7 frames", "a_graph.npz")
  rewritten(pair[0], mask)
  content = bytearray(pathlib.Path(pair[0]).read_bytes())
  content[300] ^= 1  # a pixel
  pathlib.Path(pair[0]).write_bytes(content)
  check("CRC", "a_mask.npz")
  rewritten(pair[0], mask)
  pathlib.Path(pair[1]).write_bytes(b"no zip")
  check("expected an npz file", "a_graph.npz")
  np.savez(pair[1], other=np.zeros((1, 7), np.int64))
  check("expected the key 'tensor', got", "a_graph.npz")
  np.savez(pair[1], tensor=np.zeros(7, np.int64))
  check(r"must be \[M, T\] integers", "a_graph.npz")


def test_memory_does_not_grow_with_the_length(tmp_path):
  piece = np.zeros((4, 128, 128), np.int32)

  def peak(frames):
    pair = pair_in(tmp_path)
    tracemalloc.start()
    with SidecarWriter(
      *pair, (frames, 128, 128), frame_tracks=9, max_tracks=9
    ) as writer:
      for _ in range(frames // 4):
        writer.append(piece)
    for labels in stream_labels(*pair, 4):
      assert not labels.any()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found

  short, long = peak(16), peak(256)
  assert long < 1.1 * short and short < 5 * piece.nbytes
