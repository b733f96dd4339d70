"""A folder of videos or images, whose files are found by their stems.

Annotations name a clip; users have it as .mp4, .avi, .mkv or .webm. The folder
is listed once, and what is not there keeps a path, so that it is counted as a
broken clip when it is read.
"""

import os
import pathlib
from collections.abc import Collection, Mapping

from trajvit.data.benchmarks.annotations import name_inside
from trajvit.data.manifest import VIDEO_SUFFIXES


def media_by_stem(
  folder: str | os.PathLike, suffixes: Collection[str] = VIDEO_SUFFIXES
) -> dict[str, str]:
  """Returns stem -> path of all files in a folder and in the folders below.

  Args:
    folder: where the files are; it may be a link, folders in it are then not
      followed if they are links too.
    suffixes: which files count, in small letters; hidden files never do.

  Raises:
    ValueError: there is no such folder, or two files have one stem.
  """
  if not os.path.isdir(folder):
    raise ValueError(f"no folder {os.fspath(folder)}")
  found = {}
  for parent, folders, names in os.walk(folder):
    folders.sort()
    for name in sorted(names):
      stem, suffix = os.path.splitext(name)
      if suffix.lower() not in suffixes or name.startswith("."):
        continue
      path = os.path.join(parent, name)
      if stem in found:
        raise ValueError(
          f"expected one file for {stem!r}, got {found[stem]} and {path}"
        )
      found[stem] = path
  return found


def find_media(
  found: Mapping[str, str],
  stem: str,
  folder: str | os.PathLike,
  suffix: str = ".mp4",
) -> str:
  """Returns the path of a clip, of a missing one as it should be.

  Args:
    found: of `media_by_stem`.
    stem: what the annotations call the clip, without a suffix.
    folder: where the clip should be.
    suffix: which a missing file should have.

  Raises:
    ValueError: `stem` is a path that leaves the folder.
  """
  if stem in found:
    return found[stem]
  name_inside(f"videos in {os.fspath(folder)}", stem)
  return str(pathlib.Path(folder) / (stem + suffix))
