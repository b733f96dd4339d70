"""`trajvit data check`: opens every file of a manifest, and says what is there.

A file is read just as an evaluation reads it, so what passes here trains.
"""

import argparse
import dataclasses
import os
from collections.abc import Callable
from concurrent import futures

import tqdm

from trajvit.data import decode
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.manifest import Record, read_manifest
from trajvit.data.tracks import sidecar_paths
from trajvit.data.video_files import VideoFiles

_SIZE = 32  # pixels; a clip is looked at no closer than needed


@dataclasses.dataclass(frozen=True)
class FileCheck:
  """What one file turned out to be.

  Attributes:
    path: the file.
    reason: why it cannot be used, None if it can.
    has_sidecars: whether there is a file of tracks, whatever is in it.
    height: pixels; 0 where the file could not be read.
    width: likewise.
    seconds: duration; None for an image or a file that could not be read.
  """

  path: str
  reason: str | None
  has_sidecars: bool
  height: int = 0
  width: int = 0
  seconds: float | None = None


def check_files(
  manifest: str,
  *,
  root: str = "",
  frames: int = 16,
  threads: int | None = None,
  progress: Callable = lambda checks, total: checks,
) -> list[FileCheck]:
  """Returns what each file of a manifest is, in its order, every file once.

  Args:
    manifest: see `data.manifest`.
    root: the folder that relative paths start from; "" is the manifest's own.
    frames: T, frames decoded of each video; sidecars may be made for so many.
    threads: how many files are open at once, None for one a processor core.
    progress: wraps the iterator over the checks, of which it is told how many.

  Raises:
    ValueError: the manifest itself is wrong, or `frames` or `threads` below 1.
  """
  threads = os.cpu_count() if threads is None else threads
  for name, value in (("frames", frames), ("threads", threads)):
    if value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  clip = ClipSpec(frames=frames, size=_SIZE, track_grid=_SIZE, max_tracks=2**16)
  sources = {
    tracks: VideoFiles(clip=clip, manifest=manifest, root=root, tracks=tracks)
    for tracks in ("none", "sidecar")
  }
  unique = {}  # records that differ in their caption alone are one file
  for index, record in enumerate(read_manifest(manifest, root)):
    key = record.path, record.mask, record.graph
    unique.setdefault(key, (index, record))

  def check(item):
    index, record = item
    has_sidecars = _has_sidecars(record)
    try:
      sources["sidecar" if has_sidecars else "none"].example(index, None)
      extent = _extent(record)
    except BrokenClip as broken:
      return FileCheck(record.path, broken.reason, has_sidecars)
    return FileCheck(record.path, None, has_sidecars, *extent)

  with futures.ThreadPoolExecutor(threads) as pool:
    return list(progress(pool.map(check, unique.values()), len(unique)))


def _has_sidecars(record: Record) -> bool:
  if record.mask or record.graph:
    return True
  return any(map(os.path.isfile, sidecar_paths(record.path)))


def _extent(record: Record) -> tuple[int, int, float | None]:
  """Height, width and, of a video, seconds."""
  if record.is_image:
    return *decode.read_image(record.path).shape[:2], None
  info = decode.probe(record.path)
  return info.height, info.width, info.duration


def summary(records: list[Record], checks: list[FileCheck]) -> str:
  """Returns what a person wants to know of a manifest, over several lines."""
  good = [check for check in checks if check.reason is None]
  broken = [check for check in checks if check.reason is not None]
  lines = [
    f"clips      {len(records)} of {len(checks)} files",
    f"ok         {len(good)}",
    f"broken     {len(broken)}",
    f"captions   {sum(len(record.captions) for record in records)}, "
    f"for {sum(bool(record.captions) for record in records)} clips",
    _labels(records),
    f"tracks     sidecars for {sum(c.has_sidecars for c in checks)} files, "
    f"valid for {sum(c.has_sidecars for c in good)}",
  ]
  if good:
    area = sorted((c.height * c.width, c.width, c.height) for c in good)
    least, most = (f"{w}x{h}" for _, w, h in (area[0], area[-1]))
    lines.append(f"pixels     {least} to {most}")
  seconds = sorted(c.seconds for c in good if c.seconds is not None)
  if seconds:
    lines.append(
      f"duration   {seconds[0]:.2f} to {seconds[-1]:.2f} s, "
      f"{sum(seconds) / 3600:.2f} h in all"
    )
  lines += [f"  {check.path}: {check.reason}" for check in broken]
  return "\n".join(lines)


def _labels(records: list[Record]) -> str:
  labels = {record.label for record in records} - {-1}
  if not labels:
    return "labels     none"
  labelled = sum(record.label >= 0 for record in records)
  return (
    f"labels     {len(labels)} classes from {min(labels)} to {max(labels)}, "
    f"for {labelled} clips"
  )


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument("manifest", help="JSON, JSONL, CSV or folder of files")
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument("--frames", type=int, default=16, help="frames a clip")
  parser.add_argument("--threads", type=int, help="files open at once")


def run(args: argparse.Namespace) -> int:
  """Prints the summary; returns 1 if a file is broken, else 0."""
  checks = check_files(
    args.manifest,
    root=args.root,
    frames=args.frames,
    threads=args.threads,
    progress=lambda checks, total: tqdm.tqdm(
      checks, total=total, unit="file", leave=False, disable=None
    ),
  )
  print(summary(read_manifest(args.manifest, args.root), checks))
  return int(any(check.reason is not None for check in checks))
