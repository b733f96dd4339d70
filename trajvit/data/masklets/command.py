"""`trajvit data masklets`: masklets of every video of a manifest as sidecars.

What is finished is skipped, so a run that was stopped can be started again.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Callable, Sequence

import tqdm

from trajvit.data import jobs
from trajvit.data.file_work import (
  Outcome,
  each_file_once,
  relative_stems,
  summary,
)
from trajvit.data.manifest import read_manifest
from trajvit.data.masklets.files import FILLS, Options, convert_file
from trajvit.data.whole_files import write_json


def convert_manifest(
  manifest: str,
  options: Options,
  *,
  root: str = "",
  out: str | None = None,
  processes: int | None = None,
  beam: Sequence[str] | None = None,
  progress: Callable = jobs.unchanged,
) -> list[Outcome]:
  """Writes the sidecar pairs of every video of a manifest, each file once.

  Args:
    manifest: see `data.manifest`.
    options: see Options.
    root: the folder that relative paths start from; "" is the manifest's own.
      Masklets are laid out below `options.source` as videos are below it.
    out: the folder for thinned videos, laid out likewise, and for
      `manifest.json`, which lists those that were made, with the captions and
      labels that they have; needed for `fill="thin"` and for that alone.
    processes: how many work at a time, see `jobs.run_jobs`.
    beam: arguments of a Beam pipeline that does the work, likewise.
    progress: wraps the iterator over the outcomes, likewise.

  Returns:
    What became of the files, in the order of the manifest.

  Raises:
    ValueError: the manifest or an option is wrong.
    OSError: a file cannot be written.
  """
  if not os.path.isdir(options.source):
    raise ValueError(f"no folder of masklets: {options.source}")
  if (options.fill == "thin") != (out is not None):
    raise ValueError("a folder for videos goes with fill='thin' alone")
  records = read_manifest(manifest, root)
  if out is not None and any(r.start or r.end for r in records):
    raise ValueError(f"{manifest}: parts of videos cannot be thinned")
  files = each_file_once(records)
  stems = relative_stems(files, manifest, root)
  videos = [out and pathlib.Path(out, f"{stem}.mp4") for stem in stems]
  outcomes = jobs.run_jobs(
    functools.partial(_convert, options=options),
    list(zip(files, stems, videos, strict=True)),
    Outcome,
    folder=os.path.dirname(manifest) or ".",
    processes=processes,
    beam=beam,
    progress=progress,
  )
  if out is not None:
    made = {
      record.path: str(video.relative_to(out))
      for record, video, outcome in zip(files, videos, outcomes, strict=True)
      if outcome.reason is None
    }
    _write_manifest(pathlib.Path(out), records, made)
  return outcomes


def _convert(item, options) -> Outcome:
  return convert_file(*item, options)


def _write_manifest(folder, records, made) -> None:
  """Lists the thinned videos, with all that is known of them."""
  rows = []
  for record in records:
    if record.path not in made:
      continue
    row = {"video": made[record.path]}
    if record.captions:
      row["caption"] = list(record.captions)
    if record.label >= 0:
      row["label"] = record.label
    if record.labels:
      row["labels"] = list(record.labels)
    rows.append(row)
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / "manifest.json", rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument("source", help="folder of JSON files or of PNG folders")
  parser.add_argument("manifest", help="JSON, JSONL, CSV or folder of videos")
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument(
    "--suffix", help="of the names, such as _manual or _auto in SA-V"
  )
  parser.add_argument(
    "--step", type=int, help="frames from an annotation to the next; SA-V: 4"
  )
  parser.add_argument(
    "--fill",
    choices=FILLS,
    default="none",
    help="frames without annotation: none is an error, nearest takes the "
    "masks nearest in time, thin writes videos without those frames",
  )
  parser.add_argument("--out", help="folder for the videos of --fill thin")
  parser.add_argument(
    "--size",
    type=int,
    default=480,
    help="shorter side of masks and of thinned videos, pixels",
  )
  parser.add_argument(
    "--max-tracks", type=int, default=256, help="a video keeps its largest"
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="make finished tracks anew"
  )
  jobs.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Prints the summary; returns 1 if a file is broken, else 0."""
  names = [field.name for field in dataclasses.fields(Options)]
  options = Options(**{name: getattr(args, name) for name in names})
  start = time.monotonic()
  outcomes = convert_manifest(
    args.manifest,
    options,
    root=args.root,
    out=args.out,
    processes=args.processes,
    beam=args.beam,
    progress=lambda outcomes, total: tqdm.tqdm(
      outcomes, total=total, unit="file", leave=False, disable=None
    ),
  )
  print(summary(outcomes, time.monotonic() - start))
  return int(any(outcome.reason is not None for outcome in outcomes))
