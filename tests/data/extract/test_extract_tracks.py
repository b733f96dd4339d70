"""Tracks from pixels: what they follow, where they end, what plugs in."""

import subprocess
import sys

import numpy as np
import pytest
from track_scenes import best_iou, blocks, moving_square

REASON = "needs the extra [tracks]"
pytest.importorskip("cv2", reason=REASON)
pytest.importorskip("skimage", reason=REASON)

from trajvit.data.extract import extract_tracks  # noqa: E402
from trajvit.data.extract.chunks import chunked_tracks  # noqa: E402
from trajvit.data.extract.keyframes import find_cuts, key_frames  # noqa: E402
from trajvit.data.extract.propagate import propagate  # noqa: E402
from trajvit.data.extract.region_graph import region_graph  # noqa: E402
from trajvit.data.extract.segment import segment  # noqa: E402
from trajvit.data.tracks import label_map, sidecar_arrays  # noqa: E402

CHUNKED = {"segmenter": segment}  # the defaults, put together as for a plug-in


@pytest.fixture(scope="module")
def square():
  return moving_square()


@pytest.fixture(scope="module")
def two_shots(square):
  """A cut from the moving square to bright rubble."""
  rng = np.random.default_rng(1)
  small = rng.integers(120, 256, (8, 8, 3), dtype=np.uint8)
  rubble = np.repeat(np.repeat(small, 8, axis=0), 8, axis=1)
  return np.concatenate([square[0][:4], np.repeat(rubble[None], 4, axis=0)])


def check_labels(labels, frames, max_tracks=64):
  assert labels.shape == frames.shape[:3] and labels.dtype == np.int32
  present = np.unique(labels[labels >= 0])
  assert labels.min() >= -1
  assert present.tolist() == list(range(len(present)))
  assert len(present) <= max_tracks
  mask, graph = sidecar_arrays(labels)
  assert np.array_equal(label_map(mask, graph), labels)
  for t, ids in enumerate(graph.T):
    seen = np.unique(mask[t][mask[t] > 0])
    assert (
      seen.tolist() == sorted(ids[ids > 0]) == list(range(1, len(seen) + 1))
    )


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["graph", "chunks"])
def test_one_track_follows_a_moving_square(square, options):
  frames, inside = square
  labels = extract_tracks(frames, **options)
  check_labels(labels, frames)
  assert best_iou(labels, inside) > 0.8
  assert labels.max() < 8


def test_a_square_keeps_its_number_through_chunks_of_a_long_video():
  frames, inside = moving_square(frames=16, step=2)

  def whole(chunk):
    pieces = chunked_tracks(
      lambda start, stop: frames[start:stop], 16, chunk, extract_tracks
    )
    return np.concatenate(list(pieces))

  assert best_iou(whole(5), inside) > 0.8  # four chunks
  assert np.array_equal(whole(16), extract_tracks(frames))


def test_a_striped_square_is_one_track():
  frames, inside = moving_square()
  dark = np.zeros_like(inside)
  dark[:, :, ::4] = dark[:, :, 1::4] = True
  frames[inside & dark] //= 4
  assert best_iou(extract_tracks(frames), inside) > 0.8


def test_parameters_grow_with_the_resolution():
  frames, inside = moving_square(frames=4, size=224, side=56, step=9)
  labels = extract_tracks(frames)
  assert best_iou(labels, inside) > 0.8
  assert labels.max() < 8


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["graph", "chunks"])
def test_a_square_that_appears_has_a_track_of_its_own(options):
  frames, inside = moving_square(step=0)
  empty = moving_square(step=0, color=(70, 90, 60))[0]
  frames[:4], inside[:4] = empty[:4], False
  assert best_iou(extract_tracks(frames, **options), inside) > 0.8


def test_one_colour_is_one_track():
  frames = np.full((4, 48, 64, 3), 130, np.uint8)
  assert not extract_tracks(frames).any()
  assert not extract_tracks(frames, **CHUNKED).any()


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["graph", "chunks"])
def test_a_hard_cut_starts_new_tracks(two_shots, options):
  assert find_cuts(two_shots) == [4]
  labels = extract_tracks(two_shots, **options)
  check_labels(labels, two_shots)
  before, after = set(np.unique(labels[:4])), set(np.unique(labels[4:]))
  assert before - {-1} and after - {-1}
  assert not (before & after) - {-1}


def test_more_shots_than_tracks_leave_the_rest_without(two_shots):
  labels = extract_tracks(two_shots, max_tracks=1)
  check_labels(labels, two_shots, max_tracks=1)
  assert (labels == -1).any() and (labels == 0).any()


def test_max_tracks_merges_on(rng):
  frames = rng.integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
  frames = np.repeat(np.repeat(frames[:, ::8, ::8], 8, axis=1), 8, axis=2)
  for most in (20, 3):
    labels = extract_tracks(frames, max_tracks=most)
    check_labels(labels, frames, max_tracks=most)
    assert (labels >= 0).any()


@pytest.mark.parametrize("options", [{}, CHUNKED], ids=["graph", "chunks"])
def test_an_image_is_a_clip_of_one_frame(square, options):
  frames, inside = square
  labels = extract_tracks(frames[:1], **options)
  check_labels(labels, frames[:1])
  assert best_iou(labels, inside[:1]) > 0.8


@pytest.mark.parametrize(
  "shape", [(1, 1, 1), (2, 3, 5), (3, 40, 4), (2, 9, 90)]
)
def test_any_shape_of_frame(rng, shape):
  frames = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
  check_labels(extract_tracks(frames), frames)
  check_labels(extract_tracks(frames, **CHUNKED), frames)


def test_the_same_in_another_process(two_shots, tmp_path):
  np.save(tmp_path / "frames.npy", two_shots)
  code = (
    "import sys, cv2, numpy as np\n"
    "from trajvit.data.extract import extract_tracks\n"
    "cv2.setNumThreads(3)\n"
    "frames = np.load(sys.argv[1] + '/frames.npy')\n"
    "np.save(sys.argv[1] + '/labels.npy', extract_tracks(frames))\n"
    "assert cv2.getNumThreads() == 3\n"
  )
  subprocess.run(
    [sys.executable, "-c", code, str(tmp_path)], check=True, timeout=120
  )
  labels = np.load(tmp_path / "labels.npy")
  assert np.array_equal(labels, extract_tracks(two_shots))


def test_segment_gives_disjoint_masks_the_largest_first(square):
  masks = segment(square[0][0])
  assert masks.dtype == bool and masks.shape[1:] == (64, 64)
  assert np.array_equal(masks.sum(0), np.ones((64, 64)))
  area = masks.sum((1, 2))
  assert (np.diff(area) <= 0).all() and area.min() > 0


def test_propagate_keeps_the_first_row_and_follows(square):
  frames, inside = square
  extra = np.zeros((1, 64, 64), bool)
  extra[0, 10:50, 20:40] = True  # overlaps the square
  tracked = propagate(frames, np.concatenate([inside[:1], extra]))
  assert tracked.shape == (8, 2, 64, 64) and tracked.dtype == bool
  assert np.array_equal(tracked[0, 0], inside[0])
  assert np.array_equal(tracked[0, 1], extra[0])
  assert not (tracked[1:, 0] & tracked[1:, 1]).any()
  overlap = (tracked[:, 0] & inside).sum() / (tracked[:, 0] | inside).sum()
  assert overlap > 0.8


def test_what_comes_into_view_belongs_to_no_mask():
  frames, inside = moving_square(step=0)
  frames[:4] = moving_square(step=0, color=(70, 90, 60))[0][:4]
  everything = np.ones((1, 64, 64), bool)
  tracked = propagate(frames[3:5], everything)
  assert not (tracked[1, 0] & inside[4]).sum() > 0.2 * inside[4].sum()
  assert (tracked[1, 0] & ~inside[4]).sum() > 0.8 * (~inside[4]).sum()


def test_region_graph_covers_the_clip_and_stops_at_cuts(two_shots):
  free, cut = region_graph(two_shots, []), region_graph(two_shots, [4])
  for graph in free, cut:
    assert graph.area.sum() == graph.ids.size and graph.area.min() > 0
    i, j = graph.edges.T
    assert (i < j).all() and (graph.gap >= 0).all()
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges)
  first_after = cut.ids[4].min()
  i, j = cut.edges.T
  assert not ((i < first_after) & (j >= first_after)).any()
  i, j = free.edges.T
  between_first_two = (i <= free.ids[0].max()) & (j > free.ids[0].max())
  assert between_first_two.any()


def test_key_frames_are_every_quarter_and_the_cuts(square, two_shots):
  assert key_frames(square[0]) == [0, 2, 4, 6]
  assert key_frames(two_shots[1:]) == [0, 1, 3, 5]
  assert key_frames(square[0][:1]) == [0]
  assert key_frames(square[0][:2]) == [0, 1]


def test_a_shaking_camera_makes_no_cuts():
  rng = np.random.default_rng(0)
  world = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
  shake = rng.integers(0, 32, (8, 2))
  frames = np.stack([world[y : y + 64, x : x + 64] for y, x in shake])
  assert find_cuts(frames) == []


def test_parts_plug_in():
  calls = []

  def quadrants(frame):
    calls.append("segment")
    return blocks((0, 0), (0, 8), size=16, side=8)

  def stand_still(frames, masks):
    calls.append(len(frames))
    return np.repeat(masks[None], len(frames), axis=0)

  frames = np.zeros((5, 16, 16, 3), np.uint8)
  labels = extract_tracks(
    frames,
    segmenter=quadrants,
    tracker=stand_still,
    key_frames=lambda frames: [0, 3],
  )
  assert calls == ["segment", 4, "segment", 2]
  expected = np.full((5, 16, 16), -1)
  expected[:, :8, :8], expected[:, :8, 8:] = 0, 1
  assert np.array_equal(labels, expected)


def test_a_segmenter_that_finds_nothing():
  frames = np.zeros((4, 8, 8, 3), np.uint8)
  labels = extract_tracks(
    frames, segmenter=lambda frame: np.zeros((0, 8, 8), bool)
  )
  assert (labels == -1).all() and labels.shape == (4, 8, 8)


@pytest.mark.parametrize(
  "options, message",
  [
    (
      dict(segmenter=lambda f: np.zeros((1, 4, 4), bool)),
      r"segmenter must return bool \[n, 8, 8\], got bool \(1, 4, 4\)",
    ),
    (
      dict(segmenter=lambda f: np.zeros((8, 8), bool)),
      r"segmenter must return bool \[n, 8, 8\], got bool \(8, 8\)",
    ),
    (
      dict(segmenter=lambda f: np.zeros((1, 8, 8))),
      r"segmenter must return bool .*, got float64",
    ),
    (
      dict(segmenter=lambda f: [f]),
      "segmenter must return a NumPy array, got list",
    ),
    (
      dict(tracker=lambda f, m: m),
      r"tracker must return bool \[2, 1, 8, 8\], got bool \(1, 8, 8\)",
    ),
    (
      dict(tracker=lambda f, m: np.zeros((len(f), *m.shape), bool)),
      "tracker must return the masks it was given in row 0",
    ),
    (dict(key_frames=lambda f: [1, 2]), r"from 0 below 4, got \[1, 2\]"),
    (dict(key_frames=lambda f: [0, 4]), r"from 0 below 4, got \[0, 4\]"),
    (dict(key_frames=lambda f: [0, 2, 2]), r"ascending .* got \[0, 2, 2\]"),
    (dict(key_frames=lambda f: []), r"got \[\]"),
    (dict(max_tracks=0), "max_tracks must be at least 1, got 0"),
  ],
)
def test_what_a_part_may_not_return(options, message):
  frames = np.zeros((4, 8, 8, 3), np.uint8)
  with pytest.raises(ValueError, match=message):
    extract_tracks(frames, **options)


@pytest.mark.parametrize(
  "frames, message",
  [
    (np.zeros((2, 8, 8, 3)), r"got float64 \(2, 8, 8, 3\)"),
    (np.zeros((8, 8, 3), np.uint8), r"got uint8 \(8, 8, 3\)"),
    (np.zeros((2, 8, 8, 4), np.uint8), r"got uint8 \(2, 8, 8, 4\)"),
    (np.zeros((0, 8, 8, 3), np.uint8), r"got uint8 \(0, 8, 8, 3\)"),
    ([[1]], "got list"),
  ],
)
def test_what_is_no_clip(frames, message):
  with pytest.raises(ValueError, match=message):
    extract_tracks(frames)
