"""`trajvit data quality`: how good the tracks of a manifest's files are."""

import argparse
import csv
import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from trajvit.data import jobs
from trajvit.data.file_work import (
  each_file_once,
  relative_stems,
  sidecar_files,
)
from trajvit.data.manifest import Record, read_manifest
from trajvit.data.quality.measure import Agreement, Quality, compare, measure
from trajvit.data.sidecar_stream import open_sidecars, stream_labels
from trajvit.data.tracks import sidecar_paths
from trajvit.data.whole_files import replacing, write_json


@dataclasses.dataclass(frozen=True)
class FileQuality:
  """The tracks of one file.

  Attributes:
    path: the file.
    quality: of its tracks, None if they cannot be read.
    agreement: with the reference, None without one.
    reason: why they cannot be read, or None.
  """

  path: str
  quality: Quality | None = None
  agreement: Agreement | None = None
  reason: str | None = None

  def row(self) -> dict:
    """Returns the path and all numbers, flat."""
    row = {"path": self.path}
    for part in (self.quality, self.agreement):
      row |= {} if part is None else dataclasses.asdict(part)
    return row if self.reason is None else row | {"reason": self.reason}


def measure_files(
  manifest: str,
  *,
  root: str = "",
  reference: str | None = None,
  processes: int | None = None,
  progress: Callable = jobs.unchanged,
) -> list[FileQuality]:
  """Returns the quality of the tracks of every file of a manifest, each once.

  Args:
    manifest: see `data.manifest`; the sidecar pairs are those that it names, or
      beside the files.
    root: the folder that relative paths start from; "" is the manifest's own.
    reference: a folder of sidecar pairs of the same files, laid out as the
      files are below the root; None compares with nothing.
    processes: how many work at a time, see `jobs.run_jobs`.
    progress: wraps the iterator over the files, likewise.

  Raises:
    ValueError: the manifest is wrong, or there is no such folder.
  """
  if reference is not None and not os.path.isdir(reference):
    raise ValueError(f"no folder of reference tracks: {reference}")
  records = each_file_once(read_manifest(manifest, root))
  stems = relative_stems(records, manifest, root)
  return jobs.run_jobs(
    functools.partial(_measure, reference=reference),
    list(zip(records, stems, strict=True)),
    FileQuality,
    folder=os.path.dirname(manifest) or ".",
    processes=processes,
    progress=progress,
  )


def _measure(item, reference) -> FileQuality:
  record, stem = item
  pair = sidecar_files(record)
  try:
    quality = measure(stream_labels(*pair))
    if reference is None:
      return FileQuality(record.path, quality)
    truth = _reference_pair(record, pathlib.Path(reference, stem))
    if not record.is_image:
      _check_frames(truth, quality.frames)
    agreement = compare(stream_labels(*pair), stream_labels(*truth))
  except (ValueError, OSError) as error:
    reason = " ".join(str(error).split())
    return FileQuality(record.path, reason=reason)
  return FileQuality(record.path, quality, agreement)


def _check_frames(truth, num_frames) -> None:
  with open_sidecars(*truth) as pair:
    if pair.shape[0] != num_frames:
      raise ValueError(
        f"{truth[0]}: {pair.shape[0]} frames of tracks to compare "
        f"{num_frames} with"
      )


def _reference_pair(
  record: Record, stem: pathlib.Path
) -> tuple[str, str | None]:
  suffix = pathlib.PurePath(record.path).suffix
  mask, graph = sidecar_paths(stem.with_name(stem.name + suffix))
  return mask, None if record.is_image else graph


def overall(files: Sequence[FileQuality]) -> dict[str, float]:
  """Returns the mean of every number over the files that could be read.

  `switches` is their sum. Without a readable file there are no numbers.
  """
  rows = [file.row() for file in files if file.reason is None]
  if not rows:
    return {}
  names = [name for name in rows[0] if name != "path"]
  means = {name: float(np.mean([row[name] for row in rows])) for name in names}
  if "switches" in means:
    means["switches"] = sum(row["switches"] for row in rows)
  return means


def table(files: Sequence[FileQuality], worst: int) -> str:
  """Returns what a person wants to know, over several lines.

  Args:
    files: of a manifest.
    worst: how many files of the least coverage are shown beside the mean.
  """
  good = [file for file in files if file.reason is None]
  broken = [file for file in files if file.reason is not None]
  lines = [f"{len(good)} files with tracks, {len(broken)} without"]
  if good:
    means = overall(files)
    rows = [("all", means)]
    shown = sorted(good, key=lambda file: file.quality.coverage)[:worst]
    rows += [(file.path, file.row()) for file in shown]
    lines.append("".join(f"{_HEADS[name]:>11}" for name in means))
    for name, row in rows:
      cells = "".join(f"{row[key]:>11.5g}" for key in means)
      lines.append(f"{cells}  {name}")
  lines += [f"  {file.path}: {file.reason}" for file in broken]
  return "\n".join(lines)


_HEADS = {
  "frames": "frames",
  "tracks": "tracks",
  "coverage": "coverage",
  "track_frames": "length",
  "track_share": "of clip",
  "begin_late": "begin late",
  "smallest": "smallest",
  "veq": "VEQ",
  "followed": "followed",
  "switches": "switches",
  "switches_per_track": "a track",
}


def write_csv(path: pathlib.Path, files: Sequence[FileQuality]) -> None:
  """Writes a line for each file."""
  names = ["path"]
  names += [field.name for field in dataclasses.fields(Quality)]
  names += [field.name for field in dataclasses.fields(Agreement)]
  with (
    replacing(path) as partial,
    open(partial, "w", encoding="utf-8", newline="") as file,
  ):
    writer = csv.DictWriter(file, [*names, "reason"], restval="")
    writer.writeheader()
    writer.writerows(file.row() for file in files)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument("manifest", help="JSON, JSONL, CSV or folder of files")
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument(
    "--reference", help="folder of true tracks, laid out as the files are"
  )
  parser.add_argument(
    "--worst", type=int, default=10, help="files of least coverage to show"
  )
  parser.add_argument("--json", help="file for all numbers")
  parser.add_argument("--csv", help="file for a line of numbers each file")
  parser.add_argument("--processes", type=int, help="one a core by default")


def run(args: argparse.Namespace) -> int:
  """Prints the table; returns 1 if a file has no readable tracks, else 0."""
  files = measure_files(
    args.manifest,
    root=args.root,
    reference=args.reference,
    processes=args.processes,
    progress=lambda files, total: tqdm.tqdm(
      files, total=total, unit="file", leave=False, disable=None
    ),
  )
  if args.json:
    rows = [file.row() for file in files]
    content = {"overall": overall(files), "files": rows}
    write_json(pathlib.Path(args.json), content)
  if args.csv:
    write_csv(pathlib.Path(args.csv), files)
  print(table(files, args.worst))
  return int(any(file.reason is not None for file in files))
