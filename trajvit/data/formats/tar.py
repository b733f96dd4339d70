"""Tar shards in the convention of webdataset: a source, and their writer.

The members of a clip follow each other; see `tar_clip` for what they are.
"""

import dataclasses
import hashlib
import io
import os
import pathlib
import tarfile
from collections.abc import Iterable
from concurrent import futures

import numpy as np

from trajvit.data.clips import StoredClip
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats import tar_members
from trajvit.data.formats.patterns import matching
from trajvit.data.formats.payload import PackedClip
from trajvit.data.formats.tar_clip import (
  MEDIA_SUFFIXES,
  captions_of,
  files_of,
  key_and_suffix,
  read_about,
  read_clip,
)
from trajvit.data.stored import StoredClips
from trajvit.data.video_reader import one_line

SUFFIX = ".tar"
_THREADS = 16  # shards looked through at a time
_ASKED = 16  # clips of a shard whose .json is asked for captions


def write_shard(
  path: str | os.PathLike, clips: Iterable[PackedClip], prefix: str = ""
) -> tuple[int, int]:
  """Writes a shard; equal clips give equal files, byte for byte.

  Args:
    path: the file.
    clips: what is in it.
    prefix: what the keys of its clips begin with, before their number.

  Returns:
    How many clips there are, and how many of them have captions.

  Raises:
    ValueError: a clip is of frames, which no tar convention knows.
    OSError: the file cannot be written.
  """
  records = captioned = 0
  with tarfile.open(os.fspath(path), "w", format=tarfile.USTAR_FORMAT) as file:
    for clip in clips:
      for suffix, data in files_of(clip):
        # All else in a TarInfo is the same always: no owner and no time.
        info = tarfile.TarInfo(f"{prefix}{records:06d}{suffix}")
        info.size, info.mode = len(data), 0o644
        file.addfile(info, io.BytesIO(data))
      records += 1
      captioned += bool(clip.captions)
  return records, captioned


def count_clips(path: str | os.PathLike) -> int:
  """Returns how many clips a shard has.

  Raises:
    ValueError: it is damaged outside of its members.
  """
  return len(_scan(os.fspath(path)).edges) - 1


@dataclasses.dataclass(frozen=True)
class _Shard:
  """Where the clips of a shard are.

  Attributes:
    path: the file.
    size: of the file.
    edges: [n + 1] int64, where clips begin; the last is where they end.
    has_captions: whether captions were seen.
  """

  path: str
  size: int
  edges: np.ndarray
  has_captions: bool


class TarClips(StoredClips):
  """Clips of tar shards in the convention of webdataset.

  Opening reads the headers of all members once. A clip is then one read of the
  bytes from its first member to its last, so that any is found at once.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    shards: str = "*" + SUFFIX,
    tracks: str = "auto",
  ):
    """Reads the headers of the shards.

    Args:
      clip: how every clip looks.
      root: the folder of the shards.
      shards: which of them, in the order of their names: a name with `*`, `?`,
        `[...]`, `{a,b}` or `{000..011}`.
      tracks: see ClipReader.

    Raises:
      ValueError: an unknown name, no such shards, or one that is damaged
        outside of its members, or that has two videos of one key.
    """
    super().__init__(
      clip=clip, tracks=tracks, name=os.path.join(str(root), shards)
    )
    root = pathlib.Path(root)
    try:
      names = sorted(entry.name for entry in os.scandir(root))
    except OSError as error:
      raise ValueError(
        f"{root}: expected a folder: {error.strerror}"
      ) from error
    paths = [str(root / name) for name in matching(names, shards, str(root))]
    with futures.ThreadPoolExecutor(min(_THREADS, len(paths))) as pool:
      self._shards = tuple(pool.map(_scan, paths))
    counts = [len(shard.edges) - 1 for shard in self._shards]
    self._ends = np.cumsum(counts)
    if not self._ends[-1]:
      raise ValueError(f"{root}: expected at least one clip, found none")

  def __len__(self) -> int:
    """The number of clips."""
    return int(self._ends[-1])

  @property
  def has_captions(self) -> bool:
    """Whether there are texts, or captions of the first clips of a shard."""
    return any(shard.has_captions for shard in self._shards)

  def content(self) -> list:
    """Where in which shards clips are; what is in them is not read."""
    return [
      [
        os.path.basename(shard.path),
        shard.size,
        hashlib.sha256(shard.edges.tobytes()).hexdigest(),
      ]
      for shard in self._shards
    ]

  def stored(self, index: int) -> StoredClip:
    """Returns clip `index` as it is stored.

    Raises:
      BrokenClip: it has no video and no image, or what is beside them cannot
        be read.
    """
    number = int(np.searchsorted(self._ends, index, "right"))
    shard = self._shards[number]
    local = index - (int(self._ends[number - 1]) if number else 0)
    first, last = shard.edges[local : local + 2].tolist()
    name = f"{shard.path}, byte {first}"
    try:
      data = _read_at(shard.path, first, last - first)
      return read_clip(data, shard.path, index)
    except (ValueError, OSError) as error:
      raise BrokenClip(name, one_line(error)) from error


def _read_at(path, start, size) -> bytes:
  """Returns bytes of a file.

  Raises:
    ValueError: it has become shorter.
  """
  with open(path, "rb", buffering=0) as file:
    data = os.pread(file.fileno(), size, start)
    while data and len(data) < size:  # one call reads 2 GiB at most
      more = os.pread(file.fileno(), size - len(data), start + len(data))
      if not more:
        break
      data += more
  if len(data) < size:
    raise ValueError(f"the file has become shorter, {size} bytes expected")
  return data


def _scan(path) -> _Shard:
  """Returns where the clips of a shard are."""
  if not os.path.isfile(path):  # opening a pipe would wait forever
    raise ValueError(f"{path}: expected a file")
  with open(path, "rb", buffering=0) as file:
    handle = file.fileno()
    size = os.fstat(handle).st_size

    def read(offset, count):
      return os.pread(handle, min(count, max(size - offset, 0)), offset)

    edges, keys, last = [], set(), None
    texts, media, asked = False, None, []
    try:
      for member in tar_members.members(read, size):
        key, suffix = key_and_suffix(member.name)
        if last is None or key != key_and_suffix(last.name)[0]:
          if key in keys:
            raise ValueError(
              f"byte {member.header}: expected the members of "
              f"{key!r:.99} to follow each other"
            )
          keys.add(key)
          edges.append(member.header)
          media = None
        if suffix in MEDIA_SUFFIXES:
          if media is not None:
            raise ValueError(
              f"byte {member.header}: expected one video or image of "
              f"{key!r:.99}, got {media} and {suffix}"
            )
          media = suffix
        texts = texts or suffix == ".txt"
        if suffix == ".json" and len(asked) < _ASKED:
          asked.append(member)
        last = member
      edges.append(tar_members.end_of_members(read, size, last))
      captions = texts or any(
        captions_of(read_about(read(json_.start, json_.size)))
        for json_ in asked
      )
    except ValueError as error:
      raise ValueError(f"{path}, {error}") from error
  return _Shard(path, size, np.array(edges, np.int64), captions)
