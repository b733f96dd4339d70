"""A process that reads clips for days needs no more memory than at first."""

import contextlib
import ctypes
import dataclasses
import gc
import os

import pytest
from damage import WAYS, copy_clip, write_clip

from trajvit.data.clips import ClipReader
from trajvit.data.decode import decode_frames
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.media import Blob
from trajvit.data.tracks import sidecar_paths
from trajvit.data.video_files import VideoFiles

WARM, DECODES = 2_000, 20_000
MEBIBYTE = 2**20
SPEC = ClipSpec(frames=16, size=64, track_grid=16, max_tracks=6)


def _resident():
  """Bytes of this process that are in memory."""
  gc.collect()
  with open("/proc/self/statm") as file:
    return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _in_memory(stored):
  """The same clip out of memory, as a shard gives it; missing files stay."""
  paths = stored.media, *sidecar_paths(stored.media)
  if not all(map(os.path.isfile, paths)):
    return stored
  blobs = []
  for path in paths:
    with open(path, "rb") as file:
      blobs.append(Blob(path, file.read()))
  media, *pair = blobs
  return dataclasses.replace(stored, media=media, sidecars=lambda: tuple(pair))


class _Allocated(ctypes.Structure):
  """What glibc tells of its heap, see mallinfo(3)."""

  _fields_ = [
    (name, ctypes.c_size_t)
    for name in (
      *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
      *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
    )
  ]


def _in_use():
  """Bytes that C code has asked for and not given back; None if unknown."""
  try:
    ask = ctypes.CDLL(None).mallinfo2
  except (AttributeError, OSError):
    return None
  ask.restype = _Allocated
  gc.collect()
  return ask().uordblks


@pytest.mark.skipif(_in_use() is None, reason="asks glibc")
@pytest.mark.parametrize("ends", ["whole", "zeroed_block"])
def test_nothing_is_left_behind_in_c(tmp_path, ends):
  """Not even a packet of 150 bytes a video."""
  path = tmp_path / "clip.mp4"
  write_clip(path, 0)
  for way in WAYS:
    if way.__name__ == ends:
      way(path)

  def reads(times):
    for _ in range(times):
      with contextlib.suppress(BrokenClip):
        decode_frames(path, [1, 6, 10])
    return _in_use()

  warm = reads(50)
  assert reads(300) - warm < 300 * 75


@pytest.mark.slow
@pytest.mark.skipif(
  not os.path.exists("/proc/self/statm"), reason="asks /proc for the memory"
)
@pytest.mark.parametrize("where", ["files", "memory"])
def test_memory_stays_flat(tmp_path, where):
  """Over 20,000 decodes, a third of them of clips that are broken."""
  for seed in range(20):
    write_clip(tmp_path / f"good{seed}.mp4", seed)
  for way in WAYS:
    path = tmp_path / f"{way.__name__}.mp4"
    copy_clip(tmp_path / "good0.mp4", path)
    way(path)
  (tmp_path / "missing.mp4").touch()  # a folder lists what is there
  source = VideoFiles(clip=SPEC, manifest=str(tmp_path), tracks="sidecar")
  (tmp_path / "missing.mp4").unlink()
  assert len(source) == 20 + len(WAYS)
  clips = [source.stored(i) for i in range(len(source))]
  if where == "memory":
    clips = [_in_memory(stored) for stored in clips]
  reader, resident, broken = ClipReader(SPEC, "sidecar"), {}, 0
  for done in range(1, DECODES + 1):
    try:
      reader.read(clips[done % len(clips)], None)
    except BrokenClip:
      broken += 1
    if done % WARM == 0:
      resident[done] = _resident() / MEBIBYTE
  print({done: round(size, 1) for done, size in resident.items()})
  assert DECODES // 3 - 10 < broken < DECODES // 3 + 10
  assert max(resident.values()) - resident[WARM] < 4, resident
