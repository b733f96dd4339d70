"""Manifests and sidecars made of anything: read, or refused by name.

Whatever is in them, no other error comes out than a ValueError or BrokenClip
that names the file, no file outside of the root is opened, nothing is
unpickled, and nothing is made room for that a file cannot hold.
"""

import io
import json
import os
import pathlib
import pickle
import tracemalloc
import zipfile

import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from trajvit.data.clips import ClipReader, StoredClip
from trajvit.data.decode import write_video
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.manifest import read_manifest
from trajvit.data.media import Blob
from trajvit.data.tracks import label_map, load_sidecars
from trajvit.data.video_files import VideoFiles

SPEC = ClipSpec(frames=2, size=16, track_grid=8, max_tracks=4)


class _Bomb:
  """Its pickle, once loaded, makes a folder."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return os.mkdir, (self.path,)


# Manifests.

_NAMES = st.sampled_from(
  [
    *("a.mp4", "sub/a.mp4", "none.mp4", "../a.mp4", "/etc/passwd", "..", "."),
    *("a\0b", "\ud800", "", "~/a.mp4", "sub", "a.mp4/x", "x" * 300 + ".mp4"),
    "pipe:0",
    "http://localhost/a.mp4",
    "concat:/etc/passwd",
  ]
)
_ANY = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
  lambda inner: (
    st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner)
  ),
  max_leaves=4,
)
_ROWS = st.fixed_dictionaries(
  {},
  optional={
    "video": _NAMES | _ANY,
    "image": _NAMES,
    "mask": _NAMES | _ANY,
    "graph": _NAMES,
    "caption": _ANY,
    "label": _ANY,
    "labels": _ANY,
    "start": _ANY | st.just(1e308),
    "end": _ANY,
  },
)


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("root") / "in"
  (folder / "sub").mkdir(parents=True)
  frames = np.zeros((4, 16, 16, 3), np.uint8)
  write_video(folder / "a.mp4", frames, 8)
  write_video(folder / "sub" / "a.mp4", frames, 8)
  write_video(folder.parent / "a.mp4", frames, 8)  # not to be reached
  return folder


@pytest.fixture(scope="module", name="opened")
def _opened():
  """The paths that Python or PyAV opened since the list was emptied."""
  paths = []
  with pytest.MonkeyPatch.context() as patch:
    builtin, container, low = open, __import__("av").open, os.open

    def record(function):
      def recorded(file, *args, **kwargs):
        if isinstance(file, str | bytes | os.PathLike):
          paths.append(os.path.abspath(os.fsdecode(file)))
        return function(file, *args, **kwargs)

      return recorded

    patch.setattr("builtins.open", record(builtin))
    patch.setattr("io.open", record(builtin))
    patch.setattr("os.open", record(low))
    patch.setattr("av.open", record(container))
    yield paths


def _read_all(folder, name, opened):
  """Reads a manifest and its clips; returns whether it was one."""
  opened.clear()
  path = folder / name
  try:
    source = VideoFiles(clip=SPEC, manifest=str(path), tracks="sidecar")
  except ValueError as error:
    assert str(error).startswith(str(path)), error
    return False
  finally:
    assert set(opened) <= {str(path)}
  for i in range(len(source)):
    try:
      source.example(i, None)
    except BrokenClip as broken:
      assert broken.name.startswith(str(folder))
  source.fingerprint()
  outside = [p for p in opened if not p.startswith(f"{folder}{os.sep}")]
  assert not [p for p in outside if p != str(folder)]
  return True


@fuzz(30)
@given(st.lists(_ROWS, min_size=1, max_size=3))
def test_any_rows_are_clips_or_refused(folder, opened, rows):
  (folder / "rows.json").write_text(json.dumps(rows))
  as_json = _read_all(folder, "rows.json", opened)
  (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
  assert _read_all(folder, "rows.jsonl", opened) == as_json


@fuzz(30)
@given(_NAMES, st.text("0123456789-+_ x\t\n", max_size=6))
def test_any_lines_are_clips_or_refused(folder, opened, name, label):
  content = f"{name} {label}".encode("utf-8", "surrogatepass")
  (folder / "rows.csv").write_bytes(content)
  _read_all(folder, "rows.csv", opened)


@fuzz(40)
@given(st.binary(max_size=60), st.sampled_from(["json", "jsonl", "csv", "txt"]))
def test_any_bytes_are_a_manifest_or_refused(folder, opened, data, suffix):
  (folder / f"bytes.{suffix}").write_bytes(data)
  _read_all(folder, f"bytes.{suffix}", opened)


def test_a_pickle_is_no_manifest(folder, opened, tmp_path):
  bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
  for suffix in "json", "jsonl", "csv":
    (folder / f"pickle.{suffix}").write_bytes(bomb)
    assert not _read_all(folder, f"pickle.{suffix}", opened)
  assert not list(tmp_path.iterdir())


# Sidecars.


def _npy(array):
  file = io.BytesIO()
  np.save(file, array, allow_pickle=True)
  return file.getvalue()


def _npz(name, data, method=zipfile.ZIP_DEFLATED):
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w", method) as archive:
    archive.writestr(name, data)
  return file.getvalue()


MASK = _npz("arr_0.npy", _npy(np.zeros((2, 8, 8), np.uint8)))
GRAPH = _npz("tensor.npy", _npy(np.array([[1, 1], [2, 2]])))


def _read_pair(mask, graph, folder):
  """Reads a pair by itself and with a clip; returns whether it was one."""
  blobs = Blob("the mask", mask), Blob("the graph", graph)
  stored = StoredClip(
    "the clip", str(folder / "a.mp4"), False, 0, sidecars=lambda: blobs
  )
  try:
    ClipReader(SPEC, "sidecar").read(stored, None)
    whole = True
  except BrokenClip as broken:
    assert broken.name == "the clip" and "the " in broken.reason, broken
    whole = False
  try:
    label_map(*load_sidecars(*blobs), name="the pair")
  except ValueError as error:
    assert str(error).startswith(("the mask: ", "the graph: ", "the pair: "))
    assert not whole
  return whole


@fuzz(30)
@given(st.data())
def test_any_damage_of_a_sidecar_is_told_by_name(folder, data):
  pair = {"mask": bytearray(MASK), "graph": bytearray(GRAPH)}
  assert _read_pair(**pair, folder=folder)
  content = pair[data.draw(st.sampled_from(sorted(pair)))]
  for _ in range(data.draw(st.integers(1, 3))):
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
  del content[data.draw(st.sampled_from([len(content), len(content) // 2])) :]
  _read_pair(bytes(pair["mask"]), bytes(pair["graph"]), folder)


@fuzz(30)
@given(
  st.sampled_from(["|u1", "<u2", "<i8", "<f4", "|O", "|V8", "<U4", "|b1", "x"]),
  st.lists(st.sampled_from([0, 1, 2, 8, -1, 2**20, 2**40, 2**63]), max_size=4),
  st.booleans(),
  st.binary(max_size=200),
  st.sampled_from([(1, 0), (2, 0), (3, 0), (9, 9)]),
)
def test_any_array_is_a_mask_or_refused(
  folder, dtype, shape, fortran, data, version
):
  header = repr(
    {"descr": dtype, "fortran_order": fortran, "shape": tuple(shape)}
  ).encode()
  length = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
  array = b"\x93NUMPY" + bytes(version) + length + header + data
  _read_pair(_npz("arr_0.npy", array), GRAPH, folder)
  _read_pair(MASK, _npz("tensor.npy", array), folder)


@fuzz(20)
@given(st.binary(max_size=80))
def test_any_bytes_are_refused_as_sidecars(folder, data):
  assert not _read_pair(data, GRAPH, folder)
  assert not _read_pair(_npz("arr_0.npy", data), GRAPH, folder)
  assert not _read_pair(MASK, _npz("tensor.npy", b"\x93NUMPY" + data), folder)


def test_damage_where_nothing_is_compressed(folder):
  array = _npy(np.zeros((2, 8, 8), np.uint8))
  whole = _npz("arr_0.npy", array, zipfile.ZIP_STORED)
  assert _read_pair(whole, GRAPH, folder)
  for place in range(0, len(whole), 2):
    damaged = whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]
    _read_pair(damaged, GRAPH, folder)
  for method in zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA:  # which NumPy never uses
    packed = _npz("arr_0.npy", array, method)
    assert not _read_pair(packed, GRAPH, folder)


def test_a_pickle_is_no_sidecar(folder, tmp_path):
  bomb = pickle.dumps(_Bomb(tmp_path / "exploded"))
  array = _npy(np.array([_Bomb(tmp_path / "exploded")], object))
  for data in bomb, _npz("arr_0.npy", bomb), _npz("arr_0.npy", array):
    assert not _read_pair(data, GRAPH, folder)
    assert not _read_pair(
      MASK, data.replace(b"arr_0.npy", b"tensor.np"), folder
    )
  assert not list(pathlib.Path(tmp_path).iterdir())


def test_no_room_is_made_for_what_a_file_cannot_hold(folder):
  """A header may tell of any shape; a file of zeros may be small and large."""
  head = np.lib.format.header_data_from_array_1_0(np.zeros(1, np.uint8))
  lies = io.BytesIO()
  np.lib.format.write_array_header_1_0(
    lies, {**head, "shape": (2, 2**20, 2**18)}
  )
  tracemalloc.start()
  try:
    for shape in (lies.getvalue(), lies.getvalue() + bytes(2**20)):
      assert not _read_pair(_npz("arr_0.npy", shape), GRAPH, folder)
    assert tracemalloc.get_traced_memory()[1] < 2**25
  finally:
    tracemalloc.stop()


def test_manifests_are_read_as_text_alone(folder):
  with pytest.raises(ValueError, match="expected a .json, .jsonl, .csv or"):
    read_manifest(folder / "a.mp4")
