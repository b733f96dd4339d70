"""Whether a folder of shards is what it was when it was packed."""

import os
import pathlib

from trajvit.data.formats import array_record, tar
from trajvit.data.formats.folder import INDEX, Shard, read_index, wrong_size
from trajvit.data.whole_files import sha256


def verify_shards(folder: str | os.PathLike) -> list[str]:
  """Returns what is wrong with a packed folder, having read every byte.

  That the sums are right says that the files are those that were written; that
  each clip of them can be decoded is another question.

  Args:
    folder: what `trajvit data pack` has written.

  Returns:
    A line for every problem, which begins with the file; none if all is well.
  """
  folder = pathlib.Path(folder)
  try:
    index = read_index(folder)
  except ValueError as error:
    return [str(error)]
  count = _COUNTS[index.container]
  problems = []
  for shard in index.shards:
    problem = _problem(folder, shard, count)
    if problem:
      problems.append(problem)
  listed = {shard.file for shard in index.shards}
  suffix = f".{index.container}"
  problems += [
    f"{path}: not in {INDEX}"
    for path in sorted(folder.glob(f"*{suffix}"))
    if path.name not in listed
  ]
  return problems


def _problem(folder, shard: Shard, count) -> str | None:
  path = folder / shard.file
  problem = wrong_size(folder, shard)
  if problem:
    return problem
  if sha256(path) != shard.sha256:
    return f"{path}: not the SHA-256 that {INDEX} tells"
  try:
    records = count(path)
  except ValueError as error:
    return str(error)
  if records != shard.records:
    return f"{path}: expected {shard.records} clips, got {records}"
  return None


_COUNTS = {
  "array_record": lambda path: len(array_record.read_shard(path)),
  "tar": tar.count_clips,
}
