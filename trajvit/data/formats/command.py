"""`trajvit data pack`: the clips of a manifest, in a few large files."""

import argparse

import tqdm

from trajvit.data import jobs
from trajvit.data.build import SOURCES, build_source
from trajvit.data.check.specs import parse_source
from trajvit.data.example import ClipSpec
from trajvit.data.formats.folder import CONTAINERS, Index
from trajvit.data.formats.make import TRACKS, Options
from trajvit.data.formats.pack import CLIPS_PER_SHARD, pack_records
from trajvit.data.video_files import FileClips

# Clips are packed whole, so it does not matter how they would be seen.
_ANY_CLIP = ClipSpec(frames=1, size=1, track_grid=1, max_tracks=1)


def summary(index: Index, out: str) -> str:
  """Returns what a person wants to know of a run, over one or more lines."""
  size = sum(shard.bytes for shard in index.shards)
  lines = [
    f"packed {index.records} clips, {index.captioned} of them with captions, "
    f"into {len(index.shards)} shards of {size / 1e6:.1f} MB in {out}",
    f"skipped {len(index.skipped)} clips that cannot be read",
  ]
  lines += [f"  {skip['name']}: {skip['reason']}" for skip in index.skipped]
  return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument(
    "source",
    help="a manifest (JSON, JSONL, CSV or folder of files), or a source of "
    "files as a config names it: name=benchmark,benchmark=ucf101,...",
  )
  parser.add_argument("out", help="folder for the shards")
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument("--format", choices=CONTAINERS, default="array_record")
  number = parser.add_mutually_exclusive_group()
  number.add_argument("--shards", type=int, help="how many files")
  number.add_argument(
    "--clips-per-shard", type=int, help=f"{CLIPS_PER_SHARD} by default"
  )
  parser.add_argument(
    "--short-side",
    type=int,
    help="encode anew, the shorter side so many pixels",
  )
  parser.add_argument(
    "--gop", type=int, help="encode anew, with a key frame every so many frames"
  )
  parser.add_argument(
    "--fps", type=float, help="encode anew, at most so many frames a second"
  )
  parser.add_argument(
    "--tracks",
    choices=TRACKS,
    default="auto",
    help="files of tracks: packed where they are (auto), needed, or left out",
  )
  jobs.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Prints the summary; returns 1 if a clip was skipped, else 0."""
  spec = parse_source(args.source, args.root)
  if not issubclass(SOURCES[spec["name"]], FileClips):
    raise ValueError(f"expected a source of plain files, got {spec['name']}")
  source = build_source(spec, _ANY_CLIP)
  index = pack_records(
    source.records,
    source.root,
    args.out,
    Options(
      short_side=args.short_side,
      gop=args.gop,
      fps=args.fps,
      tracks=args.tracks,
    ),
    container=args.format,
    shards=args.shards,
    clips_per_shard=args.clips_per_shard,
    processes=args.processes,
    beam=args.beam,
    progress=_bar,
  )
  print(summary(index, args.out))
  return int(bool(index.skipped))


def _bar(results, total):
  """Shows the shards that are finished."""
  return tqdm.tqdm(
    results, total=total, unit="shard", leave=False, disable=None
  )
