"""`trajvit data tracks`: extracts tracks from every file of a manifest.

They are written beside the files as TrajViT's sidecar pairs, which training
reads. What is finished is skipped, so a run that was stopped can be started
again.
"""

import argparse
import functools
import os
import pathlib
import time
from collections.abc import Callable, Sequence

import tqdm

from trajvit.data import jobs
from trajvit.data.extract.files import Options, extract_file, load_function
from trajvit.data.file_work import Outcome, each_file_once, summary
from trajvit.data.manifest import Record, read_manifest


def extract_manifest(
  manifest: str,
  options: Options,
  *,
  root: str = "",
  overlay: str | None = None,
  processes: int | None = None,
  beam: Sequence[str] | None = None,
  progress: Callable = jobs.unchanged,
) -> list[Outcome]:
  """Extracts tracks from every file of a manifest, each file once.

  Args:
    manifest: see `data.manifest`.
    options: see Options.
    root: the folder that relative paths start from; "" is the manifest's own.
    overlay: the folder for pictures of the tracks, laid out as the files are;
      None draws none.
    processes: how many work at a time, see `jobs.run_jobs`.
    beam: arguments of a Beam pipeline that does the work, likewise.
    progress: wraps the iterator over the outcomes, likewise.

  Returns:
    What became of the files, in the order of the manifest.

  Raises:
    ValueError: the manifest or an option is wrong, the manifest lists parts of
      videos and not all frames get tracks, or a part that replaces a default
      cannot be found or returns what it should not.
    OSError: a file of tracks or a picture cannot be written.
  """
  for name in (options.segmenter, options.tracker):
    if name is not None:
      load_function(name)  # fails here rather than in every process
  # Records that differ in their caption alone are one file.
  records = each_file_once(read_manifest(manifest, root))
  parts = [record for record in records if record.start or record.end]
  if parts and not options.all_frames:
    raise ValueError(
      f"{manifest} has parts of videos, the first of {parts[0].path}: tracks "
      "of all frames (--all-frames) serve all of them, of a few frames none"
    )
  return jobs.run_jobs(
    functools.partial(_extract, options=options),
    list(zip(records, _pictures(records, overlay), strict=True)),
    Outcome,
    folder=os.path.dirname(manifest) or ".",
    processes=processes,
    beam=beam,
    progress=progress,
  )


def _extract(item, options) -> Outcome:
  return extract_file(*item, options)


def _pictures(
  records: list[Record], folder: str | None
) -> list[pathlib.Path | None]:
  """Returns where to draw the tracks of each record."""
  if folder is None:
    return [None] * len(records)
  paths = [pathlib.Path(os.path.abspath(record.path)) for record in records]
  shared = os.path.commonpath([path.parent for path in paths])
  return [
    pathlib.Path(
      folder, path.parent.relative_to(shared), f"{path.stem}_tracks.gif"
    )
    for path in paths
  ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument("manifest", help="JSON, JSONL, CSV or folder of files")
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument("--frames", type=int, default=16, help="frames a clip")
  parser.add_argument(
    "--size", type=int, default=224, help="shorter side of the frames, pixels"
  )
  parser.add_argument(
    "--max-tracks",
    type=int,
    default=64,
    help="a clip, or a chunk, keeps its largest",
  )
  parser.add_argument(
    "--all-frames",
    action="store_true",
    help="tracks for every frame of a video, not for the middle --frames",
  )
  parser.add_argument(
    "--chunk",
    type=int,
    default=32,
    help="with --all-frames: frames looked at together",
  )
  parser.add_argument(
    "--max-video-tracks",
    type=int,
    default=256,
    help="with --all-frames: a video keeps its largest",
  )
  parser.add_argument("--overlay", help="folder for pictures of the tracks")
  parser.add_argument(
    "--segmenter",
    metavar="MODULE:FUNCTION",
    help="frame [H, W, 3] uint8 -> masks [n, H, W] bool",
  )
  parser.add_argument(
    "--tracker",
    metavar="MODULE:FUNCTION",
    help="frames [L, H, W, 3], masks [n, H, W] -> [L, n, H, W] bool",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="make finished tracks anew"
  )
  jobs.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Prints the summary; returns 1 if a file is broken, else 0."""
  options = Options(
    frames=args.frames,
    size=args.size,
    max_tracks=args.max_tracks,
    all_frames=args.all_frames,
    chunk=args.chunk,
    max_video_tracks=args.max_video_tracks,
    segmenter=args.segmenter,
    tracker=args.tracker,
    overwrite=args.overwrite,
  )
  start = time.monotonic()
  outcomes = extract_manifest(
    args.manifest,
    options,
    root=args.root,
    overlay=args.overlay,
    processes=args.processes,
    beam=args.beam,
    progress=lambda outcomes, total: tqdm.tqdm(
      outcomes, total=total, unit="file", leave=False, disable=None
    ),
  )
  print(summary(outcomes, time.monotonic() - start))
  return int(any(outcome.reason is not None for outcome in outcomes))
