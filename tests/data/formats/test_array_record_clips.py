"""ArrayRecord shards as a source: index, damage, and other processes."""

import json
import pickle

import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from packing_clips import SPEC, assert_same, examples, write_clips

from trajvit.data import build_loader
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats import ArrayRecordClips
from trajvit.data.formats.array_record import read_shard, write_shard
from trajvit.data.formats.folder import (
  Index,
  Shard,
  read_index,
  write_index,
)
from trajvit.data.formats.make import Options
from trajvit.data.formats.pack import pack_manifest
from trajvit.data.formats.payload import PackedClip
from trajvit.data.whole_files import sha256


@pytest.fixture(scope="module", name="packed")
def _packed(tmp_path_factory):
  folder = tmp_path_factory.mktemp("packed")
  manifest = write_clips(folder / "in")
  pack_manifest(manifest, str(folder / "out"), Options(), shards=3, processes=1)
  return folder / "out"


def _source(folder, **kwargs):
  kwargs = {"clip": SPEC, "tracks": "none", **kwargs}
  return ArrayRecordClips(root=str(folder), **kwargs)


def test_some_shards(packed):
  whole = examples(_source(packed))
  some = examples(_source(packed, shards="clips-0000{2,0}-of-*"))
  for one, two in zip(whole[:2] + whole[4:], some, strict=True):
    assert_same(one, two)
  with pytest.raises(ValueError, match="index.json: expected shards 'x.*'"):
    _source(packed, shards="x.*")


def test_a_source_goes_to_other_processes(packed):
  source = _source(packed)
  before = source.example(5, None)  # its shard is now open
  state = pickle.dumps(source)
  other = pickle.loads(state)
  assert_same(other.example(5, None), before)
  assert repr(other) == repr(source) == repr(_source(packed))
  assert other.fingerprint() == source.fingerprint()
  assert b"\x00\x00\x00\x18ftyp" not in state  # no video went along


def test_fingerprint_tells_clips_and_how_they_are_read(packed, tmp_path):
  prints = {
    _source(packed).fingerprint(),
    _source(packed, shards="clips-00000*").fingerprint(),
    _source(packed, tracks="auto").fingerprint(),
    _source(packed, clip=ClipSpec(**{**vars(SPEC), "frames": 2})).fingerprint(),
  }
  assert len(prints) == 4
  # Where the folder lies does not matter.
  for path in packed.iterdir():
    (tmp_path / path.name).write_bytes(path.read_bytes())
  assert _source(tmp_path).fingerprint() in prints


def test_a_loader_of_packed_clips(packed):
  data = {
    "batch_size": 2,
    "clip": vars(SPEC),
    "text": {"name": "bytes", "length": 8},
  }
  spec = {"name": "array_record", "root": str(packed), "tracks": "none"}
  loader = build_loader(data, spec, seed=0)
  names = [name for _, info in loader.evaluate() for name in info.names]
  assert len(names) == 6 and "record 0, a.mp4" in names[0]


def test_frames_themselves_in_a_shard(tmp_path):
  """Raw pixels, for clips that a codec would spoil."""
  rng = np.random.default_rng(0)
  frames = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
  clips = [
    PackedClip("v", frames, "", False, 0, fps=2.0),
    PackedClip("i", frames[:1], "", True, 1, fps=1.0),
  ]
  path = tmp_path / "toys.array_record"
  assert write_shard(path, clips) == (2, 0)
  shard = Shard(path.name, 2, 0, path.stat().st_size, sha256(path))
  write_index(tmp_path, Index("array_record", {}, "none", (shard,), ()))
  source = _source(tmp_path, clip=ClipSpec(**{**vars(SPEC), "frames": 3}))
  video, image = examples(source)
  np.testing.assert_array_equal(video.frames, frames[[0, 2, 4]])
  np.testing.assert_allclose(video.times, [0, 1, 2])
  np.testing.assert_array_equal(image.frames, frames[[0, 0, 0]])
  assert not source.has_captions
  with pytest.raises(ValueError, match="frames must be uint8"):
    write_shard(path, [PackedClip("f", frames / 2, "", False, 0, fps=1.0)])
  with pytest.raises(OSError, match="none/a.array_record: .*No such file"):
    write_shard(tmp_path / "none" / "a.array_record", clips)


def _copy(packed, folder, damage=lambda values: None):
  """A copy of a packed folder whose index was changed."""
  folder.mkdir(exist_ok=True)
  for path in packed.iterdir():
    (folder / path.name).write_bytes(path.read_bytes())
  values = json.loads((folder / "index.json").read_text())
  damage(values)
  (folder / "index.json").write_text(json.dumps(values))
  return folder


def _first_shard(**changes):
  return lambda values: values["shards"][0].update(changes)


@pytest.mark.parametrize(
  ("damage", "message"),
  [
    (lambda v: v.update(format="x"), "expected the format 'trajvit clips'"),
    (lambda v: v.update(version=2), "expected version 1"),
    (lambda v: v.update(version=True), "expected version 1"),
    (lambda v: v.update(container="zip"), "expected container of"),
    (lambda v: v.update(container="tar"), "shards of array_record, got tar"),
    (lambda v: v.update(shards=[]), "expected a list of shards"),
    (lambda v: v.update(shards=[3]), "expected an object a shard"),
    (lambda v: v.update(records=7), "expected records to be 6, their sum"),
    (lambda v: v["shards"].append(v["shards"][0]), "expected every shard once"),
    (_first_shard(file="../a"), "expected a plain file name, got '../a'"),
    (_first_shard(file="/etc/passwd"), "expected a plain file name"),
    (_first_shard(file=".."), "expected a plain file name"),
    (_first_shard(file="a\n"), "expected a plain file name"),
    (_first_shard(records=-1), "records of .* to be a number from 0 up"),
    (_first_shard(records=1.0), "records of .* to be a number from 0 up"),
    (_first_shard(captioned=9), "no more captioned clips than clips"),
    (_first_shard(sha256="0" * 63), "expected a SHA-256"),
    (lambda v: v.update(skipped={}), "expected skipped to be a list"),
    (lambda v: v.update(options=[]), "expected options to be an object"),
  ],
)
def test_an_index_that_cannot_be(packed, tmp_path, damage, message):
  folder = _copy(packed, tmp_path / "copy", damage)
  with pytest.raises(ValueError, match=message) as error:
    _source(folder)
  assert str(error.value).startswith(str(folder / "index.json"))


def test_shards_that_are_missing_or_of_another_size(packed, tmp_path):
  folder = _copy(packed, tmp_path / "copy")
  shard = folder / "clips-00001-of-00003.array_record"
  whole = shard.read_bytes()
  for content in whole[:-1], whole + b"\0", whole[:100], b"":
    shard.write_bytes(content)
    with pytest.raises(ValueError, match="00001.*: expected .* bytes, got"):
      _source(folder)
  shard.unlink()
  with pytest.raises(ValueError, match="00001.*: expected this shard: No such"):
    _source(folder)


def test_a_folder_without_index(tmp_path):
  with pytest.raises(ValueError, match="index.json: expected this file"):
    _source(tmp_path)
  for content in b"[1]", b"{", b"\xff", b"[" * 10**5:
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(ValueError, match="index.json: expected"):
      _source(tmp_path)


def test_more_records_than_there_are(packed, tmp_path):
  def damage(values):
    values["shards"][0]["records"] += 1
    values["records"] += 1

  source = _source(_copy(packed, tmp_path / "copy", damage))
  with pytest.raises(BrokenClip, match="00000-of-00003.array_record, record 2"):
    source.example(2, None)


_JSON = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
  lambda inner: (
    st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["file", "records", "name"]), inner)
  ),
  max_leaves=6,
)


@fuzz(60)
@given(st.sampled_from(["shards", "records", "skipped", "version"]), _JSON)
def test_any_json_is_an_index_or_refused(packed, tmp_path, key, value):
  values = json.loads((packed / "index.json").read_text())
  values[key] = value
  (tmp_path / "index.json").write_text(json.dumps(values))
  try:
    read_index(tmp_path)
  except ValueError as error:
    assert str(error).startswith(str(tmp_path / "index.json"))


@fuzz(30)
@given(st.data())
def test_any_damage_of_a_shard_breaks_its_clips_alone(packed, tmp_path, data):
  """Flipped bits, cut off or added bytes: the clips, or errors that name it."""
  path = packed / "clips-00001-of-00003.array_record"
  content = bytearray(path.read_bytes())
  # What is stored lies in the first few KB of a block of 64; flip some there.
  used = len(bytes(content).rstrip(b"\0"))
  place = data.draw(st.integers(0, min(used, 12_000) - 1))
  content[place] ^= 1 << data.draw(st.integers(0, 7))
  if data.draw(st.booleans()):
    content = content[: data.draw(st.integers(0, used))]
  folder = tmp_path / "copy"
  if not folder.exists():
    _copy(packed, folder)
  damaged = folder / path.name
  damaged.write_bytes(content)
  values = json.loads((packed / "index.json").read_text())
  values["shards"][1]["bytes"] = len(content)
  (folder / "index.json").write_text(json.dumps(values))
  expected = [clip.name for clip in read_shard(path)]
  source = _source(folder)
  for i, name in enumerate(expected, 2):
    try:
      stored = source.stored(i)
    except BrokenClip as broken:
      assert broken.name == f"{damaged}, record {i - 2}"
    else:
      assert stored.name.endswith(f", {name}")
  try:
    assert [clip.name for clip in read_shard(damaged)] in (expected, [])
  except ValueError as error:
    assert str(error).startswith(str(damaged))
