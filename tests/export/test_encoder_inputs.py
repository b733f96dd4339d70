"""What an exported encoder takes: arrays, files, captions, its own tracks."""

import json
import sys

import numpy as np
import pytest
from tiny import CLIP_SHAPE, GRID, SIZE, TRACKS, WORDS
from tiny_runs import VOCABULARY, exported_run

import trajvit
from trajvit.data.decode import write_video
from trajvit.data.example import ClipSpec
from trajvit.data.video_files import VideoFiles


@pytest.fixture(scope="module")
def encoder():
  return trajvit.load(exported_run() / "export")


def test_pixel_tracks_are_read_at_the_corner_of_cells(encoder, clip):
  stride = SIZE // GRID
  pixels = np.full((len(clip.tracks), CLIP_SHAPE[0], SIZE, SIZE), -1)
  pixels[:, :, ::stride, ::stride] = clip.tracks
  np.testing.assert_array_equal(
    encoder.encode(clip.frames, pixels),
    encoder.encode(clip.frames, clip.tracks),
  )


def test_captions_are_ids(encoder):
  words = ["green ball moves", "", "left " * WORDS]
  ids = np.zeros((3, WORDS), np.int32)
  ids[0, :4] = [2, *(3 + VOCABULARY.index(x) for x in words[0].split())]
  ids[2] = [
    2,
    *(3 + VOCABULARY.index(x) for x in words[2].split()[: WORDS - 1]),
  ]
  expected = encoder.encode_text(ids, ids > 0)
  np.testing.assert_array_equal(encoder.encode_text(words), expected)
  alone = encoder.encode_text(words[0])
  np.testing.assert_allclose(alone, expected[0], atol=1e-6)


@pytest.mark.parametrize("shape", [(48, 64), (200, 90)])
def test_a_file_is_read_as_an_evaluation_reads_it(
  encoder, rng, tmp_path, shape
):
  smooth = rng.integers(0, 256, (1, *shape, 3)).repeat(9, 0).astype(np.uint8)
  write_video(tmp_path / "a.mp4", np.roll(smooth, 3, 1), fps=8)
  manifest = tmp_path / "a.jsonl"
  manifest.write_text(json.dumps({"video": "a.mp4", "caption": "red"}))
  spec = ClipSpec(**encoder.config["clip"])
  source = VideoFiles(clip=spec, manifest=str(manifest), tracks="none")
  clip = source.example(0, None)
  tracks = rng.integers(-1, TRACKS, (CLIP_SHAPE[0], GRID, GRID))
  np.testing.assert_array_equal(
    encoder.encode(tmp_path / "a.mp4", tracks),
    encoder.encode(clip.frames, tracks),
  )


def test_without_the_extractor_tracks_must_be_given(encoder, clip, monkeypatch):
  monkeypatch.setitem(sys.modules, "trajvit.data.extract", None)
  with pytest.raises(
    ValueError, match=r"tracks=, or install trajvit\[tracks\]"
  ):
    encoder.encode(clip.frames)


def test_tracks_are_extracted_where_none_are_given(encoder, rng, monkeypatch):
  """The extractor is asked for every clip, and its labels are used."""
  frames = rng.integers(0, 256, (2, *CLIP_SHAPE, 3), dtype=np.uint8)

  class Extractor:
    @staticmethod
    def extract_tracks(clip, max_tracks):
      return (clip[..., 0] % max_tracks).astype(np.int32)

  monkeypatch.setitem(sys.modules, "trajvit.data.extract", Extractor)
  tracks = (frames[..., 0] % TRACKS).astype(np.int32)
  np.testing.assert_array_equal(
    encoder.encode(frames), encoder.encode(frames, tracks)
  )
