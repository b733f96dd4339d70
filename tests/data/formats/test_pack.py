"""`trajvit data pack`: the same clips as the plain files, in a few files."""

import json
import shutil
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from packing_clips import (
  FPS,
  RECORDS,
  SPEC,
  assert_same,
  contents,
  examples,
  grey_film,
  grey_numbers,
  write_clips,
)
from PIL import Image

from trajvit import cli
from trajvit.data.decode import decode_frames, probe, write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats import ArrayRecordClips, TarClips, verify_shards
from trajvit.data.formats import pack as pack_module
from trajvit.data.formats.folder import read_index
from trajvit.data.formats.make import Options
from trajvit.data.formats.pack import pack_manifest
from trajvit.data.media import Blob
from trajvit.data.tracks import sidecar_paths, write_sidecars
from trajvit.data.video_files import VideoFiles

CLIPS = {"array_record": ArrayRecordClips, "tar": TarClips}
containers = pytest.mark.parametrize("container", CLIPS)


@pytest.fixture(scope="module", name="manifest")
def _manifest(tmp_path_factory):
  return write_clips(tmp_path_factory.mktemp("plain") / "clips")


def _pack(manifest, out, container="array_record", **kwargs):
  names = {"short_side", "gop", "fps", "tracks"}
  options = Options(**{k: v for k, v in kwargs.items() if k in names})
  rest = {k: v for k, v in kwargs.items() if k not in names}
  rest.setdefault("processes", 1)
  return pack_manifest(
    str(manifest), str(out), options, container=container, **rest
  )


def _decoded(stored):
  """All frames of a clip."""
  count = probe(stored.media).num_frames
  return decode_frames(stored.media, range(count))[0]


@containers
@pytest.mark.parametrize("seed", [None, 3])
def test_packed_clips_are_those_of_the_plain_files(
  manifest, tmp_path, container, seed
):
  """But for a part of a video, which is encoded anew and begins at 0 s."""
  index = _pack(manifest, tmp_path, container, shards=2)
  assert (index.records, index.captioned, index.skipped) == (6, 4, ())
  spec = {**vars(SPEC), "sampler": "random_segment", "augment": "crop_flip"}
  spec = ClipSpec(**spec)
  for tracks in ("auto", "none"):
    if tracks == "auto":  # d.mp4 has none, and would be extracted
      index = [0, 1, 2, 5]
    plain = VideoFiles(clip=spec, manifest=manifest, tracks=tracks)
    source = CLIPS[container](clip=spec, root=str(tmp_path), tracks=tracks)
    assert len(source) == len(plain) and source.has_captions
    for i in [0, 1, 2, 5] if tracks == "auto" else [0, 1, 2, 4, 5]:
      rng = [None if seed is None else np.random.default_rng(seed)] * 2
      if seed is not None:
        rng[1] = np.random.default_rng(seed)
      assert_same(source.example(i, rng[0]), plain.example(i, rng[1]))


@containers
def test_a_part_of_a_video_is_cut_out(manifest, tmp_path, container):
  """With its tracks: of 0.5 to 1.25 s at 8 frames a second, frames 4 to 9."""
  _pack(manifest, tmp_path, container)
  source = CLIPS[container](clip=SPEC, root=str(tmp_path), tracks="sidecar")
  stored = source.stored(3)
  assert grey_numbers(_decoded(stored)) == [4, 5, 6, 7, 8, 9]
  assert (stored.start, stored.end) == (0.0, None)
  example = source.example(3, None)
  np.testing.assert_array_equal(
    example.tracks[:, 0, 0], np.array(grey_numbers(example.frames)) >= 8
  )
  plain = VideoFiles(clip=SPEC, manifest=manifest, tracks="sidecar")
  assert example.clip_id == plain.example(3, None).clip_id
  assert example.captions == ("a part",)
  np.testing.assert_allclose(
    example.times, plain.example(3, None).times - 0.5, atol=1e-6
  )


def test_encoding_anew(manifest, tmp_path):
  """Shorter side, key frames and frame rate; tracks follow the frames."""
  _pack(manifest, tmp_path, short_side=16, gop=2, fps=4.0, tracks="none")
  source = ArrayRecordClips(clip=SPEC, root=str(tmp_path), tracks="none")
  stored = source.stored(0)
  info = probe(stored.media)
  assert (info.num_frames, info.fps, info.width) == (8, 4.0, 16)
  assert grey_numbers(_decoded(stored)) == list(range(0, 16, 2))
  with av.open(stored.media.open()) as video:
    keys = [packet.is_keyframe for packet in video.demux(video=0)][:8]
  assert sum(keys) >= 4 and keys[0]
  assert grey_numbers(_decoded(source.stored(3))) == [4, 6, 8]
  image = source.stored(2).media
  assert image.name.endswith("c.png")
  assert source.example(2, None).frames.shape == (4, 16, 16, 3)


def test_tracks_follow_the_frames_that_are_kept(tmp_path):
  (tmp_path / "in").mkdir()
  write_video(tmp_path / "in" / "a.mp4", grey_film(16), FPS)
  labels = np.repeat(np.arange(4), 4).astype(np.int32)  # a track a half second
  labels = labels[:, None, None].repeat(8, 1).repeat(8, 2)
  write_sidecars(*sidecar_paths(tmp_path / "in" / "a.mp4"), labels)
  records = [{"video": "a.mp4"}, {"video": "a.mp4", "start": 1.0}]
  manifest = tmp_path / "in" / "clips.json"
  manifest.write_text(json.dumps(records))
  _pack(manifest, tmp_path / "out", fps=4)
  source = ArrayRecordClips(
    clip=SPEC, root=str(tmp_path / "out"), tracks="sidecar"
  )
  whole, part = examples(source)
  numbers = np.array(grey_numbers(whole.frames))
  np.testing.assert_array_equal(whole.tracks[:, 0, 0], numbers // 4)
  numbers = np.array(grey_numbers(part.frames))
  assert numbers.tolist() == [8, 10, 12, 14]
  np.testing.assert_array_equal(part.tracks[:, 0, 0], numbers // 4 - 2)


def test_tracks_of_few_frames_cannot_follow_another_rate(manifest, tmp_path):
  with pytest.raises(ValueError, match=r"sub/b.mp4: its tracks are for 4 of"):
    _pack(manifest, tmp_path / "a", fps=4)
  # Other sizes and key frames leave the frames as they are.
  _pack(manifest, tmp_path / "b", short_side=16)
  source = ArrayRecordClips(
    clip=SPEC, root=str(tmp_path / "b"), tracks="sidecar"
  )
  plain = VideoFiles(clip=SPEC, manifest=manifest, tracks="sidecar")
  one, two = source.example(1, None), plain.example(1, None)
  np.testing.assert_array_equal(one.tracks, two.tracks)
  assert grey_numbers(one.frames) == grey_numbers(two.frames)


def test_an_odd_size_becomes_even(tmp_path):
  frames = grey_film(4, side=50)[:, :34]
  write_video(tmp_path / "a.mp4", frames, FPS)
  manifest = tmp_path / "clips.csv"
  manifest.write_text("a.mp4 3\n")
  _pack(manifest, tmp_path / "out", short_side=15)
  source = ArrayRecordClips(clip=SPEC, root=str(tmp_path / "out"))
  info = probe(source.stored(0).media)
  assert (info.height, info.width) == (16, 22)
  assert source.stored(0).label == 3


def test_a_large_photo_is_shrunk(tmp_path):
  for name in "a.jpg", "b.bmp":
    Image.fromarray(grey_film(2, 64)[1]).save(tmp_path / name)
  manifest = tmp_path / "clips.json"
  manifest.write_text('[{"image": "a.jpg"}, {"image": "b.bmp"}]')
  _pack(manifest, tmp_path / "out", short_side=32)
  source = ArrayRecordClips(
    clip=SPEC, root=str(tmp_path / "out"), tracks="none"
  )
  first_bytes = b"\xff\xd8", b"\x89P"  # JPEG stays, all others become PNG
  for i, start in enumerate(first_bytes):
    media = source.stored(i).media
    assert isinstance(media, Blob) and media.data.startswith(start)
    assert np.abs(source.example(i, None).frames.astype(int) - 10).max() <= 1


@containers
def test_broken_clips_are_skipped_counted_and_said(tmp_path, container, capsys):
  manifest = write_clips(tmp_path / "in", broken=True)
  out = tmp_path / "out"
  arguments = ["data", "pack", manifest, str(out), "--format", container]
  arguments += ["--processes", "1", "--clips-per-shard", "4"]
  assert cli.main(arguments) == 1
  lines = capsys.readouterr().out.splitlines()
  assert lines[0].startswith("packed 6 clips, 4 of them with captions, into 3")
  assert lines[1:] == [
    "skipped 3 clips that cannot be read",
    "  text.mp4: Invalid data found when processing input",
    "  missing.mp4: No such file or directory",
    "  empty.mp4: the file is empty",
  ]
  index = read_index(out)
  assert [skip["record"] for skip in index.skipped] == [1, 2, 8]
  assert [shard.records for shard in index.shards] == [1, 3, 2]
  source = CLIPS[container](clip=SPEC, root=str(out), tracks="none")
  captions = [example.captions for example in examples(source)]
  expected = [record.get("caption", ()) for record in RECORDS]
  assert captions == [
    (c,) if isinstance(c, str) else tuple(c) for c in expected
  ]


def test_tracks_that_are_needed(manifest, tmp_path):
  index = _pack(manifest, tmp_path / "a", tracks="sidecar")
  assert [skip["name"] for skip in index.skipped] == ["d.mp4"]
  assert index.skipped[0]["reason"] == "no sidecar d_mask.npz and d_graph.npz"
  _pack(manifest, tmp_path / "b", tracks="none")
  source = ArrayRecordClips(clip=SPEC, root=str(tmp_path / "b"))
  assert source.stored(0).sidecars() is None


def test_tracks_that_contradict_themselves(tmp_path):
  write_video(tmp_path / "a.mp4", grey_film(4), FPS)
  mask, graph = sidecar_paths(tmp_path / "a.mp4")
  np.savez(mask, np.ones((4, 8, 8), np.uint8))
  np.savez(graph, tensor=np.ones((2, 4), np.int64))
  manifest = tmp_path / "clips.csv"
  manifest.write_text("a.mp4 0\n")
  index = _pack(manifest, tmp_path / "out")
  assert "id 1 of frame 0 is in rows [0, 1]" in index.skipped[0]["reason"]
  with pytest.raises(ValueError, match="at least one clip, found none"):
    ArrayRecordClips(clip=SPEC, root=str(tmp_path / "out"))


@containers
def test_equal_clips_give_equal_bytes(manifest, tmp_path, container):
  """Wherever they lie, and however often the shards are made."""
  moved = tmp_path / "moved"
  shutil.copytree(manifest.rpartition("/")[0], moved)
  for name, path in ("a", manifest), ("b", moved / "clips.json"):
    _pack(path, tmp_path / name, container, shards=2)
  assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_run_that_was_stopped_goes_on(manifest, tmp_path, monkeypatch):
  _pack(manifest, tmp_path / "whole", shards=3)
  out, made = tmp_path / "out", []
  make_clip = pack_module.make_clip

  def stops(record, **kwargs):
    made.append(kwargs["name"])
    if len(made) == 4:
      raise KeyboardInterrupt
    return make_clip(record, **kwargs)

  monkeypatch.setattr(pack_module, "make_clip", stops)
  with pytest.raises(KeyboardInterrupt):
    _pack(manifest, out, shards=3)
  names = [path.name for path in out.iterdir()]
  # The first shard is there, of the second there is nothing.
  assert sorted(names) == [
    "clips-00000-of-00003.array_record",
    "clips-00000-of-00003.array_record.json",
  ]
  (out / ".clips-00001-of-00003.array_record.x.partial").write_text("half")
  _pack(manifest, out, shards=3)
  assert len(made) == 4 + 4
  assert contents(out) == contents(tmp_path / "whole")
  _pack(manifest, out, shards=3)
  assert len(made) == 8
  (out / "clips-00002-of-00003.array_record").unlink()
  _pack(manifest, out, shards=3)
  assert len(made) == 10
  assert contents(out) == contents(tmp_path / "whole")


def test_shards_of_another_run_are_refused(manifest, tmp_path):
  _pack(manifest, tmp_path, shards=3)
  for kwargs in {"shards": 2}, {"shards": 3, "gop": 4}:
    with pytest.raises(ValueError, match="shards of another run: options"):
      _pack(manifest, tmp_path, **kwargs)
  with pytest.raises(ValueError, match="shards of another run: container"):
    _pack(manifest, tmp_path, "tar", shards=3)
  other = tmp_path / "other.csv"
  other.write_text("a.mp4 0\n" * 3)
  with pytest.raises(ValueError, match="shards of another run: manifest"):
    _pack(other, tmp_path, shards=3)


@containers
def test_every_damage_of_a_folder_is_found(manifest, tmp_path, container):
  out = tmp_path / "out"
  _pack(manifest, out, container, shards=2)
  assert verify_shards(out) == []
  one, two = sorted(out.glob(f"*.{container}"))
  whole = one.read_bytes()
  one.write_bytes(whole[:-1])
  assert verify_shards(out) == [
    f"{one}: expected {len(whole)} bytes, got {len(whole) - 1}"
  ]
  one.write_bytes(whole[:-700] + b"?" + whole[-699:])
  assert verify_shards(out) == [f"{one}: not the SHA-256 that index.json tells"]
  two.rename(two.with_name(f"more.{container}"))
  found = verify_shards(out)
  assert len(found) == 3 and f"{two}: expected this shard" in found[1]
  assert found[2].endswith(f"more.{container}: not in index.json")
  (out / "index.json").unlink()
  assert "index.json: expected this file" in verify_shards(out)[0]


@pytest.mark.parametrize(
  ("kwargs", "message"),
  [
    ({"short_side": 1}, "short_side must be at least 2, got 1"),
    ({"gop": 0}, "gop must be at least 1, got 0"),
    ({"fps": 0.0}, "fps must be above 0, got 0.0"),
    ({"tracks": "all"}, "tracks must be one of none, sidecar, auto, got 'all'"),
    ({"shards": 0}, "shards must be at least 1, got 0"),
    ({"shards": 1, "clips_per_shard": 1}, "got both"),
    (
      {"container": "zip"},
      "format must be one of array_record, tar, got",
    ),
    ({"processes": 0}, "processes must be at least 1, got 0"),
  ],
)
def test_wrong_options_of_packing(manifest, tmp_path, kwargs, message):
  with pytest.raises(ValueError, match=message):
    _pack(manifest, tmp_path, **kwargs)


def test_a_record_that_is_damaged_is_a_broken_clip(manifest, tmp_path):
  _pack(manifest, tmp_path, shards=1)
  (path,) = tmp_path.glob("*.array_record")
  data = bytearray(path.read_bytes())
  data[500] ^= 1  # in the first record
  path.write_bytes(data)
  source = ArrayRecordClips(clip=SPEC, root=str(tmp_path), tracks="none")
  with pytest.raises(BrokenClip, match="array_record, record 0: .*orrupt"):
    source.example(0, None)
  source.example(2, None)  # the others are as they were


def test_a_benchmark_is_packed_as_a_config_names_it(tmp_path, capsys):
  for name in "a", "b":
    (tmp_path / "in" / name).mkdir(parents=True)
    write_video(tmp_path / "in" / name / "v.mp4", grey_film(4), FPS)
  out = str(tmp_path / "out")
  command = ["data", "pack", f"name=video_files,manifest={tmp_path}/in", out]
  assert cli.main([*command, "--processes", "1"]) == 0
  source = ArrayRecordClips(clip=SPEC, root=out, tracks="none")
  found = [(e.captions, e.label) for e in examples(source)]
  assert found == [(("a",), 0), (("b",), 1)]
  capsys.readouterr()
  assert cli.main(["data", "pack", "name=moving_sprites,split=train", out]) == 2
  assert "expected a source of plain files" in capsys.readouterr().err


@pytest.mark.slow
def test_killed_and_started_again(tmp_path):
  """By SIGKILL, after each shard but the last; no half of a file is left."""
  (tmp_path / "in").mkdir()
  write_video(tmp_path / "in" / "a.mp4", grey_film(16), FPS)
  manifest = tmp_path / "in" / "clips.csv"
  manifest.write_text("a.mp4 0\n" * 40)
  _pack(manifest, tmp_path / "whole", short_side=16, shards=4)
  out = tmp_path / "out"
  command = [sys.executable, "-m", "trajvit.cli", "data", "pack"]
  command += [str(manifest), str(out), "--short-side", "16", "--shards", "4"]
  command += ["--processes", "1"]
  for shard in range(3):
    with subprocess.Popen(command) as process:
      while not (
        out / f"clips-0000{shard}-of-00004.array_record.json"
      ).exists():
        assert process.poll() is None
        time.sleep(1e-3)
      process.kill()
    for path in out.glob("*.array_record"):
      assert path.read_bytes() == (tmp_path / "whole" / path.name).read_bytes()
  assert subprocess.run(command, check=False).returncode == 0
  assert contents(out) == contents(tmp_path / "whole")
