"""Paths of files: those that files name must not lead out of a folder."""

import os

_SHOWN = 60  # letters of a path that a message quotes


def path_inside(
  root: str | os.PathLike, name: str, where: str, what: str = "a path"
) -> str:
  """Returns where `name` is, from `root` on, which it must not leave.

  What counts are the words of the paths: a folder below `root` may be a link to
  another place, if whoever keeps `root` has made it one.

  Args:
    root: a folder, absolute or relative to the working directory.
    name: a path; an absolute one must be below `root`.
    where: the file and the place in it that name it, for messages.
    what: of the name, for messages.

  Raises:
    ValueError: it leads elsewhere, or cannot be the name of a file.
  """
  shown = name if len(name) <= _SHOWN else name[: _SHOWN - 3] + "..."
  try:
    if "\0" in name:
      raise ValueError("a zero byte")
    os.fsencode(name)
  except ValueError as error:  # a UnicodeEncodeError is one
    raise ValueError(
      f"{where}: expected {what}, got {shown!a}: {error}"
    ) from error
  path = os.path.normpath(os.path.join(root, name))
  folder = os.path.abspath(root)
  if not os.path.join(os.path.abspath(path), "").startswith(
    os.path.join(folder, "")
  ):
    raise ValueError(
      f"{where}: expected {what} inside of {folder}, got {shown!r}; name a "
      "root that holds all files, or the root / for any place"
    )
  return path


def file_size(path: str) -> int:
  """The size of a file in bytes, -1 if it is missing."""
  try:
    return os.stat(path).st_size
  except OSError:
    return -1
