"""Tar shards in the convention of webdataset: what others have written, too."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from packing_clips import (
  FPS,
  SPEC,
  assert_same,
  examples,
  grey_film,
  grey_numbers,
)
from PIL import Image

from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats import TarClips
from trajvit.data.tracks import sidecar_paths, write_sidecars


@pytest.fixture(scope="module", name="files")
def _files(tmp_path_factory):
  """A video with its tracks, and an image."""
  folder = tmp_path_factory.mktemp("files")
  write_video(folder / "v.mp4", grey_film(16), FPS)
  labels = np.zeros((16, 8, 8), np.int32)
  labels[8:] = 1
  write_sidecars(*sidecar_paths(folder / "v.mp4"), labels)
  Image.fromarray(grey_film(6)[5]).save(folder / "i.png")
  names = {
    ".mp4": "v.mp4",
    ".mask.npz": "v_mask.npz",
    ".graph.npz": "v_graph.npz",
    ".png": "i.png",
  }
  return {key: (folder / name).read_bytes() for key, name in names.items()}


def _write(path, members):
  """Writes a tar of (name, bytes)."""
  with tarfile.open(path, "w") as archive:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return path


def _source(folder, spec=SPEC, **kwargs):
  kwargs = {"tracks": "none", **kwargs}
  return TarClips(clip=spec, root=str(folder), **kwargs)


def _one(folder, members, **kwargs):
  """The source of one shard."""
  _write(folder / "a.tar", members)
  return _source(folder, **kwargs)


def test_the_convention(files, tmp_path):
  about = {"caption": "from json", "label": 3, "start": 0.5, "end": 1.5}
  members = [
    ("./train/0001.json", json.dumps(about).encode()),
    ("./train/0001.mp4", files[".mp4"]),
    ("./train/0001.mask.npz", files[".mask.npz"]),
    ("./train/0001.graph.npz", files[".graph.npz"]),
    ("./train/0001.wav", b"passed over"),
    ("./train/0002.PNG", files[".png"]),
    ("./train/0002.txt", "ein Bild: ü\n".encode()),
    ("./train/0002.cls", b"7\n"),
    ("./other/0002.mp4", files[".mp4"]),
  ]
  source = _one(tmp_path, members, tracks="auto")
  assert len(source) == 3 and source.has_captions
  video, image = source.example(0, None), source.example(1, None)
  assert grey_numbers(video.frames) == [4, 6, 8, 10]
  np.testing.assert_array_equal(video.tracks[:, 0, 0], [0, 0, 1, 1])
  assert video.captions == ("from json",) and video.label == 3
  assert video.name == f"{tmp_path}/a.tar, ./train/0001.mp4"
  assert source.stored(1).is_image
  assert image.captions == ("ein Bild: ü",) and image.label == 7
  assert grey_numbers(image.frames) == [5] * 4
  assert [video.clip_id, image.clip_id, source.stored(2).clip_id] == [0, 1, 2]


def test_captions_of_both_places(files, tmp_path):
  both = {"captions": ["one", " ", "two"], "clip_id": 9}
  members = [
    ("0.mp4", files[".mp4"]),
    ("0.json", json.dumps(both).encode()),
    ("0.txt", b"two"),
    ("1.mp4", files[".mp4"]),
    ("1.json", json.dumps(both).encode()),
    ("1.txt", b"three"),
  ]
  source = _one(tmp_path, members)
  assert source.stored(0).captions == ("one", "two")
  assert source.stored(1).captions == ("one", "two", "three")
  assert source.stored(0).clip_id == 9
  assert not _one(tmp_path, members[:1]).has_captions
  assert _one(tmp_path, members[:2]).has_captions


def test_shards_in_order_and_other_processes(files, tmp_path):
  for shard in range(3):
    members = [
      (f"{shard}{i}.txt", f"{shard}{i}".encode()) for i in range(shard + 1)
    ]
    members = [
      x
      for name, data in members
      for x in [(name, data), (name.replace("txt", "mp4"), files[".mp4"])]
    ]
    _write(tmp_path / f"s-{shard:03d}.tar", members)
  (tmp_path / "s-009.tar.json").write_text("{}")
  source = _source(tmp_path)
  names = [source.stored(i).captions[0] for i in range(len(source))]
  assert names == ["00", "10", "11", "20", "21", "22"]
  some = _source(tmp_path, shards="s-{001..002}.tar")
  assert [x.captions for x in examples(some)] == [
    x.captions for x in examples(source)[1:]
  ]
  other = pickle.loads(pickle.dumps(source))
  assert_same(other.example(4, None), source.example(4, None))
  assert repr(other) == repr(source)
  prints = {
    x.fingerprint()
    for x in (source, some, other, _source(tmp_path, tracks="auto"))
  }
  assert len(prints) == 3
  spec = ClipSpec(**{**vars(SPEC), "frames": 2})
  assert _source(tmp_path, spec).fingerprint() not in prints
  with pytest.raises(ValueError, match="expected shards 's-003.tar', found no"):
    _source(tmp_path, shards="s-{001..003}.tar")
  with pytest.raises(ValueError, match="without a folder"):
    _source(tmp_path, shards="../*.tar")
  with pytest.raises(ValueError, match="none: expected a folder"):
    _source(tmp_path / "none")


@pytest.mark.parametrize(
  ("extra", "message"),
  [
    ([("0.json", b"{")], r"\.json: expected JSON"),
    ([("0.json", b"[]")], r"\.json: expected an object"),
    ([("0.json", b'{"caption": 3}')], r"\.json: expected captions, got 3"),
  ],
)
def test_a_json_that_tells_of_captions_and_cannot_be_read(
  files, tmp_path, extra, message
):
  """It is asked at opening; one further on breaks its clip alone."""
  clip = [("0.mp4", files[".mp4"])]
  with pytest.raises(ValueError, match=message) as error:
    _one(tmp_path, [*clip, *extra])
  assert str(error.value).startswith(str(tmp_path / "a.tar"))


@pytest.mark.parametrize(
  ("extra", "message"),
  [
    ([("0.txt", b"\xff")], r"\.txt: expected UTF-8 text"),
    ([("0.cls", b"cat")], r"\.cls: expected a number, got b'cat'"),
    ([("0.json", b'{"label": "cat"}')], "label to be a number from -1 up to"),
    ([("0.json", b'{"clip_id": -1}')], "clip_id to be a number from 0 up to"),
    ([("0.json", b'{"start": 2, "end": 1}')], "0 <= start < end, got 2 and 1"),
    ([("0.json", b'{"start": NaN}')], "0 <= start < end, got nan"),
    ([("0.json", b'{"end": "x"}')], "got 0.0 and 'x'"),
  ],
)
def test_what_is_beside_a_video_may_break_it(files, tmp_path, extra, message):
  members = [("0.mp4", files[".mp4"]), *extra, ("1.mp4", files[".mp4"])]
  source = _one(tmp_path, members)
  with pytest.raises(BrokenClip, match=message) as broken:
    source.example(0, None)
  assert broken.value.name == f"{tmp_path}/a.tar, byte 0"
  source.example(1, None)


def test_clips_without_or_with_two_videos(files, tmp_path):
  source = _one(tmp_path, [("0.txt", b"alone")])
  with pytest.raises(BrokenClip, match="no video or image of '0', only '.txt'"):
    source.example(0, None)
  with pytest.raises(ValueError, match="one video or image of '0', got .mp4"):
    _one(tmp_path, [("0.mp4", files[".mp4"]), ("0.png", files[".png"])])
  members = [("0.mp4", b""), ("1.mp4", b""), ("0.txt", b"")]
  with pytest.raises(ValueError, match="members of '0' to follow each other"):
    _one(tmp_path, members)
  with pytest.raises(ValueError, match="at least one clip, found none"):
    _one(tmp_path, [])
  os.mkfifo(tmp_path / "b.tar")
  with pytest.raises(ValueError, match="b.tar: expected a file"):
    _source(tmp_path)


def test_a_shard_that_is_cut_off(files, tmp_path):
  path = _write(tmp_path / "a.tar", [("0.mp4", files[".mp4"])])
  content = path.read_bytes()
  path.write_bytes(content[:700])
  with pytest.raises(ValueError, match=r"a.tar, byte 512: the archive ends"):
    _source(tmp_path)
  path.write_bytes(content)
  source = _source(tmp_path)
  path.write_bytes(content[:700])  # while it is read
  with pytest.raises(BrokenClip, match="the file has become shorter"):
    source.example(0, None)
  path.unlink()
  with pytest.raises(BrokenClip, match="No such file"):
    source.example(0, None)


@fuzz(30)
@given(st.integers(0), st.integers(0, 255))
def test_any_damage_of_a_tar_is_told_by_name(files, tmp_path, place, value):
  about = {"caption": "x", "label": 1}
  members = [
    ("0.mp4", files[".mp4"]),
    ("0.json", json.dumps(about).encode()),
    ("0.mask.npz", files[".mask.npz"]),
    ("0.graph.npz", files[".graph.npz"]),
    ("1.mp4", b"x"),
  ]
  path = _write(tmp_path / "a.tar", members)
  content = bytearray(path.read_bytes())
  content[place % (len(content) - 9000)] = value
  path.write_bytes(content)
  try:
    source = _source(tmp_path, tracks="sidecar")
  except ValueError as error:
    assert str(error).startswith(str(tmp_path))
    return
  try:
    source.example(0, None)
  except BrokenClip as broken:
    assert broken.name.startswith(str(path))


def test_names_that_lead_elsewhere_are_names_only(files, tmp_path, monkeypatch):
  """A member may be called anything; only the shard itself is opened."""
  members = [
    ("/etc/passwd.mp4", files[".mp4"]),
    ("../../up.txt", b"a caption"),
    ("../../up.png", files[".png"]),
    ("../...a/b.mp4", files[".mp4"]),
    ("x/.mp4", pickle.dumps(os.system)),
  ]
  _write(tmp_path / "a.tar", members)
  opened = []
  with monkeypatch.context() as patch:
    builtin = open

    def recorded(file, *args, **kwargs):
      opened.append(str(file))
      return builtin(file, *args, **kwargs)

    patch.setattr("builtins.open", recorded)
    source = _source(tmp_path)
    assert len(source) == 4
    for i in range(3):
      source.example(i, None)
    with pytest.raises(BrokenClip, match="x/.mp4: Invalid data"):
      source.example(3, None)
  assert set(opened) == {str(tmp_path / "a.tar")}
