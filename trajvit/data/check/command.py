"""`trajvit data check`: decodes every clip, and says what is there.

A clip is read just as an evaluation reads it, so what passes here trains.
"""

import argparse

import tqdm

from trajvit.data import jobs
from trajvit.data.check.all_clips import (
  check_source,
  damaged_shards,
  open_source,
)
from trajvit.data.check.clip import Settings
from trajvit.data.check.histogram import bars, histograms
from trajvit.data.check.proposal import config_lines, propose
from trajvit.data.check.results import (
  bad_list,
  good_manifest,
  summary,
  write_histograms,
  write_lists,
)
from trajvit.data.check.specs import parse_source
from trajvit.data.video_files import FileClips


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument(
    "sources",
    nargs="+",
    metavar="SOURCE",
    help="a manifest (JSON, JSONL, CSV or folder of files), or a source as a "
    "config names it: name=array_record,root=FOLDER",
  )
  parser.add_argument("--root", default="", help="where relative paths start")
  parser.add_argument("--frames", type=int, default=16, help="frames a clip")
  parser.add_argument(
    "--every-frame", action="store_true", help="decode all of them"
  )
  parser.add_argument(
    "--track-grid",
    type=int,
    default=56,
    help="cells a side in which tracks are counted",
  )
  parser.add_argument(
    "--extract",
    action="store_true",
    help="find tracks in the pixels of clips that have none, which is slow",
  )
  parser.add_argument(
    "--clips", type=int, default=64, help="clips of a packed group to propose"
  )
  parser.add_argument(
    "--registers", type=int, default=1, help="tokens that tracks are not"
  )
  parser.add_argument(
    "--out", metavar="FOLDER", help="for lists, a table and a picture"
  )
  parser.add_argument("--threads", type=int, help="clips a process opens")
  jobs.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
  """Prints what was found; returns 1 if something is broken, else 0."""
  settings = Settings(
    frames=args.frames,
    track_grid=args.track_grid,
    every_frame=args.every_frame,
    extract=args.extract,
  )
  checks, manifests, damaged, roots = [], [], [], []
  for text in args.sources:
    spec = parse_source(text, args.root)
    damaged += damaged_shards(spec)
    found = check_source(
      spec,
      settings,
      processes=args.processes,
      threads=args.threads,
      beam=args.beam,
      folder=args.out,
      progress=_bar,
    )
    source = open_source(spec, settings)
    if isinstance(source, FileClips):
      roots.append(source.root)
      manifests.append(good_manifest(source.records, found, source.root))
    checks += found
  print(summary(checks))
  for line in damaged + [": ".join(pair) for pair in bad_list(checks)]:
    print(f"  {line}")
  counted = histograms(checks)
  for one in counted:
    print(f"\n{bars(one)}")
  tracks = [
    c.tracks for c in checks if c.reason is None and c.tracks is not None
  ]
  if any(tracks):
    proposal = propose(tracks, clips=args.clips, registers=args.registers)
    print(f"\nfor a config:\n{config_lines(proposal)}")
  if args.out:
    names = write_lists(args.out, checks, manifests)
    write_histograms(args.out, counted)
    for name, root in zip(names, roots, strict=True):
      print(f"\nthe good clips: manifest={name} root={root}")
  return int(bool(damaged) or any(c.reason is not None for c in checks))


def _bar(results, total):
  """Shows the parts that are finished."""
  return tqdm.tqdm(results, total=total, unit="part", leave=False, disable=None)
