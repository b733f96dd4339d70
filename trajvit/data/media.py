"""A file, wherever its bytes are: on a disk, or in memory out of a shard."""

import dataclasses
import io
import os


@dataclasses.dataclass(frozen=True)
class Blob:
  """A file whose bytes are in memory.

  Attributes:
    name: what messages call it.
    data: the bytes of the file.
  """

  name: str
  data: bytes

  def open(self) -> io.BytesIO:
    """Returns a file object over the bytes."""
    return io.BytesIO(self.data)


Media = str | os.PathLike | Blob


def media_name(media: Media) -> str:
  """Returns what messages call a file."""
  return media.name if isinstance(media, Blob) else os.fspath(media)


def media_size(media: Media) -> int:
  """Returns the size of a file in bytes.

  Raises:
    OSError: there is no such file.
  """
  return len(media.data) if isinstance(media, Blob) else os.path.getsize(media)
