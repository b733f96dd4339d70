"""An encoder of a run directory, and of long videos and lists of files."""

import numpy as np
import pytest
from tiny import CLIP_SHAPE, GRID, TRACKS
from tiny_runs import exported_run

import trajvit
from trajvit.data.decode import write_video


@pytest.fixture(scope="module", name="live")
def _live():
  return trajvit.load(exported_run())


@pytest.fixture(name="tracks")
def _tracks(monkeypatch, live):
  """In place of an extractor: a pattern that is the same for equal frames."""

  def extract(frames, preprocessing):
    return (frames[..., 0] // 16 % TRACKS).astype(np.int32)

  monkeypatch.setattr("trajvit.export.encoder.extract_tracks", extract)


def test_a_run_is_an_encoder_as_its_export_is(live, rng):
  exported = trajvit.load(exported_run() / "export")
  frames = rng.integers(0, 256, (2, *CLIP_SHAPE, 3), dtype=np.uint8)
  tracks = rng.integers(-1, TRACKS, (2, CLIP_SHAPE[0], GRID, GRID))
  assert live.preprocessing == exported.preprocessing
  for one, two in (
    (live.encode(frames, tracks), exported.encode(frames, tracks)),
    (live.encode_text("red ball"), exported.encode_text("red ball")),
    (
      live.tokenize(frames, tracks).features,
      exported.tokenize(frames, tracks).features,
    ),
  ):
    np.testing.assert_allclose(one, two, atol=1e-5)


def test_a_list_is_a_batch(live, tracks, tmp_path, rng):
  pixels = rng.integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
  paths = []
  for name in "ab":
    write_video(tmp_path / f"{name}.mp4", np.roll(pixels, ord(name)), 8)
    paths.append(tmp_path / f"{name}.mp4")
  found = live.encode(paths)
  assert found.shape == (2, 8)
  for row, path in zip(found, paths, strict=True):
    np.testing.assert_allclose(row, live.encode(path), atol=1e-5)
  with pytest.raises(ValueError, match="an empty list"):
    live.encode([])
  clips = [
    np.zeros((*CLIP_SHAPE, 3), np.uint8),
    np.zeros((2, 8, 8, 3), np.uint8),
  ]
  with pytest.raises(ValueError, match="must be alike"):
    live.encode(clips)


@pytest.mark.parametrize("as_file", [True, False])
def test_windows_of_a_long_video_are_its_parts(live, tracks, tmp_path, as_file):
  pixels = np.zeros((50, 32, 32, 3), np.uint8)
  pixels += (np.arange(50, dtype=np.uint8) * 5)[:, None, None, None]
  write_video(tmp_path / "long.mp4", pixels, 10)
  options = dict(window=2.0, stride=1.0, batch_size=3)
  video = tmp_path / "long.mp4"
  if not as_file:
    video, options["fps"] = pixels, 10
  found = list(live.encode_long(video, **options))
  assert [len(embeddings) for _, embeddings in found] == [3, 1]
  times = np.concatenate([times for times, _ in found])
  np.testing.assert_allclose(times, [[0, 2], [1, 3], [2, 4], [3, 5]])
  embeddings = np.concatenate([embeddings for _, embeddings in found])
  if not as_file:
    middle = (2 * np.arange(4) * 5 + 4) // 2  # of four intervals of 5 frames
    for start, row in zip((0, 10, 20, 30), embeddings, strict=True):
      expected = live.encode(pixels[start + middle])
      np.testing.assert_allclose(row, expected, atol=1e-5)


def test_what_cannot_be_a_long_video(live):
  frames = np.zeros((9, 8, 8, 3), np.uint8)
  for video, options, message in (
    (frames, dict(window=0, stride=1, fps=1), "window and stride must be"),
    (frames, dict(window=1, stride=1), "fps is for arrays"),
    (frames, dict(window=1, stride=1, fps=0), "fps be above 0"),
    ("a.mp4", dict(window=1, stride=1, fps=3), "fps is for arrays"),
    (frames[0], dict(window=1, stride=1, fps=3), r"must be uint8 RGB \[N"),
    (frames / 2, dict(window=1, stride=1, fps=3), r"must be uint8 RGB \[N"),
  ):
    with pytest.raises(ValueError, match=message):
      next(live.encode_long(video, **options))


def test_a_directory_without_either_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="no export and no run"):
    trajvit.load(tmp_path)
