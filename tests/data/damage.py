"""Ten ways in which a clip gets damaged, each done to a good file in place.

Every function takes the path of an MP4 of `write_clip`, with its sidecar pair.
"""

import pathlib
import shutil

import av
import numpy as np

from trajvit.data.decode import decode_frames, write_video
from trajvit.data.tracks import load_sidecars, sidecar_paths, write_sidecars

FRAMES, SIZE, FPS = 16, 64, 8
BLOCK = 4096  # bytes that a file system loses at once


def write_clip(path: pathlib.Path, seed: int) -> None:
  """Writes a textured square that moves, with the sidecar pair of its tracks.

  The clip has 2 + seed % 3 tracks; the index of the file is at its end.
  """
  rng = np.random.default_rng(seed)
  noise = rng.integers(0, 256, (1, SIZE, SIZE, 3), dtype=np.uint8)
  frames = noise.repeat(FRAMES, axis=0)
  labels = np.zeros((FRAMES, SIZE, SIZE), np.int32)
  for band in range(seed % 3):
    labels[:, 16 * band : 16 * band + 16] = 2 + band
  for t in range(FRAMES):
    square = slice(20, 44), slice(2 * t, 2 * t + 24)
    frames[t][square], labels[t][square] = rng.integers(0, 256, 3), 1
  write_video(path, frames, FPS)
  write_sidecars(*sidecar_paths(path), labels)


def copy_clip(path: pathlib.Path, to: pathlib.Path) -> None:
  """Copies a clip and its sidecar pair."""
  shutil.copyfile(path, to)
  for old, new in zip(sidecar_paths(path), sidecar_paths(to), strict=True):
    shutil.copyfile(old, new)


def empty(path: pathlib.Path) -> None:
  """A download that never began: no bytes."""
  path.write_bytes(b"")


def missing(path: pathlib.Path) -> None:
  """In the manifest, and not on the disk."""
  path.unlink()


def cut_in_header(path: pathlib.Path) -> None:
  """Ends within its first box."""
  path.write_bytes(path.read_bytes()[:20])


def cut_in_stream(path: pathlib.Path) -> None:
  """A download that stopped: the index came first, then half the pictures."""
  ahead = path.with_suffix(".ahead")
  with (
    av.open(str(path)) as old,
    av.open(
      str(ahead), "w", format="mp4", options={"movflags": "faststart"}
    ) as new,
  ):
    stream = old.streams.video[0]
    copy = new.add_stream_from_template(stream)
    for packet in old.demux(stream):
      if packet.size:
        packet.stream = copy
        new.mux(packet)
  content = ahead.read_bytes()
  ahead.unlink()
  start = content.index(b"mdat")
  path.write_bytes(content[: (start + len(content)) // 2])


def zeroed_block(path: pathlib.Path) -> None:
  """A lost block of the disk: zeros from the middle of the pictures on."""
  content = bytearray(path.read_bytes())
  start, end = content.index(b"mdat"), content.index(b"moov")
  middle = (start + end) // 2  # behind the first picture, the largest
  size = min(BLOCK, end - middle)
  content[middle : middle + size] = bytes(size)
  path.write_bytes(content)


def text(path: pathlib.Path) -> None:
  """What a server says in place of a video."""
  path.write_text("<html><body>404: this video is not here</body></html>\n" * 9)


def audio_only(path: pathlib.Path) -> None:
  """A song: sound and no picture."""
  with av.open(str(path), "w") as container:
    stream = container.add_stream("aac", rate=16_000, layout="mono")
    frame = av.AudioFrame.from_ndarray(
      np.zeros((1, 16_000), np.float32), format="fltp", layout="mono"
    )
    frame.sample_rate = 16_000
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def no_index(path: pathlib.Path) -> None:
  """A recorder that was switched off: all pictures, and no moov box."""
  content = path.read_bytes()
  path.write_bytes(content[: content.index(b"moov") - 4])


def more_frames_promised(path: pathlib.Path) -> None:
  """An AVI whose header counts twice the frames that there are."""
  other = path.with_suffix(".avi")
  write_video(other, decode_frames(path, range(FRAMES))[0], FPS)
  other.replace(path)
  content = bytearray(path.read_bytes())
  avih, strh = content.index(b"avih") + 8, content.index(b"strh") + 8
  for place in avih + 16, strh + 32:  # dwTotalFrames and dwLength
    assert int.from_bytes(content[place : place + 4], "little") == FRAMES
    content[place : place + 4] = (2 * FRAMES).to_bytes(4, "little")
  path.write_bytes(content)


def wrong_tracks(path: pathlib.Path) -> None:
  """A good video with the tracks of one that is a frame shorter."""
  pair = sidecar_paths(path)
  mask, _ = load_sidecars(*pair)
  write_sidecars(*pair, mask[1:].astype(np.int32) - 1)


# What is done -> a part of the reason that is given.
WAYS = {
  empty: "the file is empty",
  missing: "No such file",
  cut_in_header: "Invalid data",
  cut_in_stream: "is missing, the last one decoded is",
  zeroed_block: "frame ",
  text: "Invalid data",
  audio_only: "no video in it, only audio",
  no_index: "Invalid data",
  more_frames_promised: "of 32",
  wrong_tracks: "15 frames of tracks",
}
