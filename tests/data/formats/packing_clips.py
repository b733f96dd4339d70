"""Clips that the tests of packed formats share: plain files, and a manifest."""

import json

import numpy as np
from PIL import Image

from trajvit.data.decode import write_video
from trajvit.data.example import ClipSpec
from trajvit.data.tracks import sidecar_paths, write_sidecars

SPEC = ClipSpec(frames=4, size=16, track_grid=8, max_tracks=4)
FPS = 8.0
RECORDS = [
  {"video": "a.mp4", "caption": ["one", "two"], "label": 1},
  {"video": "sub/b.mp4", "caption": "three", "labels": [0, 2]},
  {"image": "c.png", "label": 0},
  {"video": "a.mp4", "caption": "a part", "start": 0.5, "end": 1.25},
  {"video": "d.mp4"},
  {"video": "a.mp4", "caption": "again"},
]


def grey_film(count, side=32):
  """Frames whose grey tells their number, in steps of 10."""
  grey = np.arange(count, dtype=np.uint8)[:, None, None, None] * 10
  return np.broadcast_to(grey, (count, side, side, 3)).copy()


def grey_numbers(frames):
  """The inverse of `grey_film`."""
  return np.round(frames.mean((1, 2, 3)) / 10).astype(int).tolist()


def write_clips(folder, broken=False):
  """Writes the files of RECORDS and returns the path of their manifest.

  a.mp4 has tracks of all 16 frames: track t // 8 is everywhere in frame t.
  sub/b.mp4 has tracks of its 4 middle frames, and c.png has some, too.
  """
  (folder / "sub").mkdir(parents=True)
  write_video(folder / "a.mp4", grey_film(16), FPS)
  labels = np.arange(16, dtype=np.int32) // 8
  labels = labels[:, None, None].repeat(8, 1).repeat(8, 2)
  write_sidecars(*sidecar_paths(folder / "a.mp4"), labels)
  write_video(folder / "sub" / "b.mp4", grey_film(12), FPS)
  write_sidecars(*sidecar_paths(folder / "sub" / "b.mp4"), labels[6:10])
  Image.fromarray(grey_film(4)[3]).save(folder / "c.png")
  write_sidecars(sidecar_paths(folder / "c.png")[0], None, labels[:1])
  write_video(folder / "d.mp4", grey_film(20), FPS)
  records = list(RECORDS)
  if broken:
    (folder / "text.mp4").write_text("no video at all\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    records[1:1] = [{"video": "text.mp4"}, {"video": "missing.mp4"}]
    records.append({"video": "empty.mp4", "caption": "x"})
  manifest = folder / "clips.json"
  manifest.write_text(json.dumps(records))
  return str(manifest)


def examples(source, seed=None):
  """All examples of a source."""
  return [
    source.example(i, None if seed is None else np.random.default_rng(seed + i))
    for i in range(len(source))
  ]


def assert_same(one, two):
  """Two examples are equal but for their names."""
  np.testing.assert_array_equal(one.frames, two.frames)
  np.testing.assert_array_equal(one.times, two.times)
  if one.tracks is None:
    assert two.tracks is None
  else:
    np.testing.assert_array_equal(one.tracks, two.tracks)
  rest = ("captions", "clip_id", "label", "labels", "dropped_tracks")
  for key in rest:
    assert getattr(one, key) == getattr(two, key), key


def contents(folder):
  """The bytes of every file of a folder, by name."""
  return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
