"""The Sources of plain files: those of a manifest, and of any other list."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np
from absl import logging

from trajvit.data.clips import StoredClip
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.file_work import sidecar_files
from trajvit.data.manifest import Record, read_manifest
from trajvit.data.paths import file_size
from trajvit.data.stored import StoredClips


class FileClips(StoredClips):
  """Clips of the video and image files that a list of records names.

  See ClipReader for what becomes of them. The sidecar pair of a clip is the one
  that its record names or the one beside the file.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    records: Sequence[Record],
    name: str,
    root: str,
    tracks: str = "auto",
  ):
    """Keeps the records; files are opened when their clip is asked for.

    Args:
      clip: how every clip looks.
      records: one a clip, at least one.
      name: what messages call the list.
      root: the folder below which it does not matter where files lie.
      tracks: see ClipReader.

    Raises:
      ValueError: an unknown name.
    """
    super().__init__(clip=clip, tracks=tracks, name=name)
    self._root = root
    self._records = tuple(records)
    places = sorted({clip_place(record) for record in self._records})
    self._clip_ids = {place: i for i, place in enumerate(places)}
    captioned = sum(bool(record.captions) for record in self._records)
    logging.info(
      "%s: %d clips, %d of them different, %d with captions",
      *(name, len(self._records), len(places), captioned),
    )

  def __len__(self) -> int:
    """The number of records."""
    return len(self._records)

  @property
  def has_captions(self) -> bool:
    """Whether any clip has a caption."""
    return any(record.captions for record in self._records)

  @property
  def root(self) -> str:
    """The folder below which it does not matter where files lie."""
    return self._root

  @property
  def records(self) -> tuple[Record, ...]:
    """The records, one a clip."""
    return self._records

  def stored(self, index: int) -> StoredClip:
    """Returns clip `index` as it is stored; no file of it is opened."""
    record = self._records[index]
    return StoredClip(
      name=record.path,
      media=record.path,
      is_image=record.is_image,
      clip_id=self._clip_ids[clip_place(record)],
      captions=record.captions,
      label=record.label,
      labels=record.labels,
      start=record.start,
      end=record.end,
      sidecars=functools.partial(self._sidecar_pair, record),
    )

  def content(self) -> list:
    """The records and the sizes of their files.

    Where the files lie does not matter, as long as it is the same below the
    root; that a file is missing does, and so do sidecar pairs made since.
    """
    return [self._row(record) for record in self._records]

  def _row(self, record) -> dict:
    row = dataclasses.asdict(record)
    row["path"] = os.path.relpath(record.path, self._root)
    del row["mask"], row["graph"]
    files = [record.path]
    if self._tracks in ("sidecar", "auto"):
      files += [name for name in sidecar_files(record) if name]
    row["sizes"] = [file_size(file) for file in files]
    return row

  def _sidecar_pair(self, record) -> tuple[str, str | None] | None:
    """The sidecar files of a record, or None if it names and has none."""
    pair = sidecar_files(record)
    missing = [name for name in pair if name and not os.path.isfile(name)]
    if not missing:
      return pair
    if self._tracks == "sidecar" or record.mask or record.graph:
      raise BrokenClip(record.path, f"no sidecar {' and '.join(missing)}")
    return None


class VideoFiles(FileClips):
  """Clips of the video and image files that a manifest lists."""

  def __init__(
    self,
    *,
    clip: ClipSpec,
    manifest: str,
    root: str = "",
    tracks: str = "auto",
  ):
    """Reads the manifest; files are opened when their clip is asked for.

    Args:
      clip: how every clip looks.
      manifest: a file or folder, see `trajvit.data.manifest`.
      root: the folder that relative paths start from; "" is the manifest's.
      tracks: see ClipReader.

    Raises:
      ValueError: an unknown name, or a malformed manifest.
    """
    manifest = str(manifest)
    folder = manifest
    if not os.path.isdir(manifest):
      folder = root or os.path.dirname(manifest) or "."
    super().__init__(
      clip=clip,
      records=read_manifest(manifest, root),
      name=manifest,
      root=folder,
      tracks=tracks,
    )


def clip_place(record: Record) -> tuple:
  """What two records of one clip have in common."""
  return record.path, record.start, record.end or np.inf
