"""Where things lie in releases that exist in several layouts."""

import os
import pathlib

from trajvit.data.benchmarks.video_folder import media_by_stem


def first_there(root: pathlib.Path, *names: str) -> pathlib.Path:
  """Returns the first of several places under `root` where something is.

  Raises:
    ValueError: nothing is at any of them.
  """
  for name in names:
    if os.path.exists(root / name):
      return root / name
  raise ValueError(f"{root}: expected {' or '.join(names)}, there is none")


def media_if_there(folder: pathlib.Path) -> dict[str, str]:
  """Returns `media_by_stem(folder)`, nothing if there is no such folder.

  For one folder of many, such as that of a class: its videos are then broken
  clips, as missing files are.
  """
  return media_by_stem(folder) if os.path.isdir(folder) else {}
