"""Directories that are there in whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_directory(
  path: str | Path, *, overwrite: bool = False, marker: str
) -> Iterator[Path]:
  """Yields an empty directory that becomes `path` when the block ends well.

  Args:
    path: where it goes.
    overwrite: replace what is there.
    marker: a file that what is there must hold to be replaced, so that a
      slip of the hand does not delete a home directory.

  Raises:
    ValueError: there is something already.
  """
  path = Path(path).expanduser().resolve()
  if path.exists():
    if not overwrite:
      raise ValueError(f"{path} exists; --overwrite replaces it")
    if not (path / marker).is_file():
      raise ValueError(
        f"{path} is not replaced: it has no {marker}, so no export wrote it"
      )
  new = path.with_name(f".{path.name}.{os.getpid()}.new")
  old = path.with_name(f".{path.name}.{os.getpid()}.old")
  new.mkdir(parents=True)
  try:
    yield new
    if path.exists():
      path.rename(old)
    new.rename(path)
  except BaseException:
    shutil.rmtree(new, ignore_errors=True)
    if old.exists() and not path.exists():
      old.rename(path)
    raise
  shutil.rmtree(old, ignore_errors=True)
