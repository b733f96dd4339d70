"""ArrayRecord shards of clips: a source that reads them, and their writer.

Format: https://github.com/google/array_record. Each record is compressed by
itself (group_size 1), so that any one is found and read without its neighbours.
"""

import bisect
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable

from array_record.python import array_record_data_source, array_record_module

from trajvit.data.clips import StoredClip
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats import folder as shard_folder
from trajvit.data.formats import payload
from trajvit.data.formats.patterns import matching
from trajvit.data.media import Blob
from trajvit.data.stored import StoredClips
from trajvit.data.video_reader import one_line

SUFFIX = ".array_record"
_OPTIONS = "group_size:1"


def write_shard(
  path: str | os.PathLike, clips: Iterable[payload.PackedClip]
) -> tuple[int, int]:
  """Writes a shard; equal clips give equal files, byte for byte.

  Returns:
    How many clips there are, and how many of them have captions.

  Raises:
    ValueError: a clip cannot be stored.
    OSError: the file cannot be written.
  """
  records = captioned = 0
  try:
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), _OPTIONS)
    try:
      for clip in clips:
        writer.write(payload.encode(clip))
        records += 1
        captioned += bool(clip.captions)
    finally:
      writer.close()
  except RuntimeError as error:
    raise OSError(f"{os.fspath(path)}: {one_line(error)}") from error
  return records, captioned


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A shard as ArrayRecordDataSource takes it without opening the file."""

  filename: str
  skip: int
  take: int
  examples_in_shard: int


class ArrayRecordClips(StoredClips):
  """Clips of the ArrayRecord shards that `trajvit data pack` has written.

  Opening reads the index alone, and looks at the sizes of the shards. A shard
  is opened when its first clip is asked for, in each process anew.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    shards: str = "*" + SUFFIX,
    tracks: str = "auto",
  ):
    """Reads the index and checks that the shards are there.

    Args:
      clip: how every clip looks.
      root: the folder of `index.json` and the shards.
      shards: which of them, in the order of the index: a name with `*`, `?`,
        `[...]`, `{a,b}` or `{000..011}`.
      tracks: see ClipReader.

    Raises:
      ValueError: an unknown name, no such shards, an index that is not what it
        should be, or a shard of another size than it tells.
    """
    super().__init__(
      clip=clip, tracks=tracks, name=os.path.join(str(root), shards)
    )
    self._root = pathlib.Path(root)
    index = shard_folder.read_index(self._root)
    where = self._root / shard_folder.INDEX
    if index.container != "array_record":
      raise ValueError(
        f"{where}: expected shards of array_record, got {index.container}"
      )
    names = matching([s.file for s in index.shards], shards, str(where))
    self._shards = tuple(s for s in index.shards if s.file in set(names))
    shard_folder.check_files(self._root, self._shards)
    self._ends = list(itertools.accumulate(s.records for s in self._shards))
    if not self._ends[-1]:
      raise ValueError(f"{where}: expected at least one clip, found none")
    self._data = array_record_data_source.ArrayRecordDataSource(
      [
        Instruction(str(self._root / s.file), 0, s.records, s.records)
        for s in self._shards
      ],
      reader_options={"max_parallelism": "0"},
    )

  def __len__(self) -> int:
    """The number of clips."""
    return self._ends[-1]

  @property
  def has_captions(self) -> bool:
    """Whether any clip has a caption."""
    return any(shard.captioned for shard in self._shards)

  def content(self) -> list:
    """The hashes of the shards."""
    return [[shard.file, shard.sha256] for shard in self._shards]

  def stored(self, index: int) -> StoredClip:
    """Returns clip `index` as it is stored.

    Raises:
      BrokenClip: its record is damaged.
    """
    name = self._record_name(index)
    try:
      clip = payload.decode(self._data[index], name)
    except ValueError as error:
      reason = one_line(error).removeprefix(f"{name}: ")
      raise BrokenClip(name, reason) from error
    except (RuntimeError, OSError, IndexError) as error:
      raise BrokenClip(name, one_line(error)) from error
    return stored_clip(clip, f"{name}, {clip.name}")

  def _record_name(self, index) -> str:
    """What messages call a record: its shard and number, from 0."""
    shard = bisect.bisect_right(self._ends, index)
    first = self._ends[shard - 1] if shard else 0
    return f"{self._root / self._shards[shard].file}, record {index - first}"


def stored_clip(clip: payload.PackedClip, name: str) -> StoredClip:
  """Returns a clip as ClipReader takes it, called `name` in messages."""
  media, pair = clip.media, None
  if isinstance(media, bytes):
    media = Blob(name, media)
  if clip.mask is not None:
    graph = clip.graph and Blob(f"{name} (graph)", clip.graph)
    pair = Blob(f"{name} (mask)", clip.mask), graph
  return StoredClip(
    name=name,
    media=media,
    is_image=clip.is_image,
    clip_id=clip.clip_id,
    captions=clip.captions,
    label=clip.label,
    labels=clip.labels,
    start=clip.start,
    end=clip.end,
    fps=clip.fps or 1.0,
    sidecars=lambda: pair,
  )


def read_shard(path: pathlib.Path) -> list[payload.PackedClip]:
  """Returns all clips of a shard.

  Raises:
    ValueError: the shard or a record of it is damaged.
  """
  try:
    reader = array_record_module.ArrayRecordReader(os.fspath(path))
    count = reader.num_records()
    records = reader.read_all() if count else []
    reader.close()
  except (RuntimeError, IndexError, OSError) as error:
    raise ValueError(f"{path}: {one_line(error)}") from error
  return [
    payload.decode(record, f"{path}, record {i}")
    for i, record in enumerate(records)
  ]
