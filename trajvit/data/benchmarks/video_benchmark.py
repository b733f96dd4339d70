"""A benchmark whose videos lie in one folder."""

import pathlib
from collections.abc import Callable
from typing import ClassVar

from trajvit.data.benchmarks.benchmark import Benchmark
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_folder import find_media, media_by_stem


class VideoBenchmark(Benchmark):
  """Finds the videos by what the annotations call them.

  Attributes:
    folders: where the videos may be, from the root on, the usual name first.
    suffix: of a video that is missing.
  """

  folders: ClassVar[tuple[str, ...]]
  suffix: ClassVar[str] = ".mp4"

  def finder(self, root: pathlib.Path) -> Callable[..., str]:
    """Lists the videos of the first of `folders` that is there, once.

    Returns:
      A function from the names that a video may have, without suffix, to its
      path: of the first one that is there, or else of the first one.

    Raises:
      ValueError: there is none of the folders, or two videos have one name.
    """
    folder = first_there(root, *self.folders)
    found = media_by_stem(folder)

    def path(*names: str) -> str:
      name = next((name for name in names if name in found), names[0])
      return find_media(found, name, folder, self.suffix)

    return path
