"""The files of a manifest that are to get tracks, and what became of each."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from trajvit.data.manifest import Record
from trajvit.data.tracks import sidecar_paths


@dataclasses.dataclass(frozen=True)
class Outcome:
  """What became of one file that was to get tracks.

  Attributes:
    path: the file.
    made: whether sidecar files were written; else a valid pair was there, or
      the file is broken.
    tracks: how many tracks there are.
    dropped: how many were left out of a video that had too many.
    reason: why the file is broken, or None.
  """

  path: str
  made: bool = False
  tracks: int = 0
  dropped: int = 0
  reason: str | None = None


def sidecar_files(record: Record) -> tuple[str, str | None]:
  """Returns where the tracks of a record belong; an image needs no graph."""
  mask, graph = sidecar_paths(record.path)
  if record.is_image:
    return record.mask or mask, record.graph
  return record.mask or mask, record.graph or graph


def each_file_once(records: Sequence[Record]) -> list[Record]:
  """Returns a record for every file; in order, of several the last."""
  return list({(r.path, *sidecar_files(r)): r for r in records}.values())


def relative_stems(
  records: Sequence[Record], manifest: str, root: str
) -> list[pathlib.PurePath]:
  """Returns where files are below the root, their suffixes left out.

  Args:
    records: of the files.
    manifest: that lists them; a folder is itself the root.
    root: the folder that relative paths start from; "" is the manifest's own.

  Returns:
    Relative paths; `read_manifest` sees to it that none leads out of the root.
  """
  base = manifest if os.path.isdir(manifest) else root
  base = base or os.path.dirname(manifest) or "."
  return [
    pathlib.PurePath(os.path.relpath(record.path, base)).with_suffix("")
    for record in records
  ]


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
  """Returns what a person wants to know of a run, over one or more lines."""
  broken = [outcome for outcome in outcomes if outcome.reason is not None]
  good = [outcome for outcome in outcomes if outcome.reason is None]
  made = sum(outcome.made for outcome in good)
  line = (
    f"tracks of {made} files made in {seconds:.0f} s, "
    f"{len(good) - made} were there, {len(broken)} broken"
  )
  if good:
    mean = sum(outcome.tracks for outcome in good) / len(good)
    line += f"; {mean:.1f} tracks a clip"
  crowded = [outcome for outcome in good if outcome.dropped]
  if crowded:
    dropped = sum(outcome.dropped for outcome in crowded)
    line += (
      f"; {dropped} tracks above the limit of a video left out of "
      f"{len(crowded)} videos"
    )
  return "\n".join([line, *(f"  {b.path}: {b.reason}" for b in broken)])
