"""`trajvit encode`: embeddings of all clips of a source, restartable."""

import argparse

import tqdm

from trajvit.data.build import SOURCES
from trajvit.data.check.specs import parse_source
from trajvit.export.encode import Encoding, encode_source, needed_tracks
from trajvit.export.feature_shards import SHARD_FORMATS
from trajvit.export.load import load


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the command line."""
  parser.add_argument(
    "source", help="a manifest, or name=array_record,root=... and the like"
  )
  parser.add_argument("out", help="folder of the shards")
  parser.add_argument(
    "--encoder", required=True, help="an export, or a run directory"
  )
  parser.add_argument("--root", default="", help="of a manifest")
  parser.add_argument("--format", default="npz", choices=sorted(SHARD_FORMATS))
  parser.add_argument("--clips-per-shard", type=int, default=4096)
  parser.add_argument("--batch-size", type=int, default=32)
  parser.add_argument("--threads", type=int, default=2, help="that read")
  parser.add_argument(
    "--process-index", type=int, default=0, help="of several that share OUT"
  )
  parser.add_argument("--process-count", type=int, default=1)


def run(args: argparse.Namespace) -> int:
  """Prints a summary; returns 1 if a clip is missing, else 0."""
  encoder = load(args.encoder)
  spec = parse_source(args.source, args.root)
  spec = needed_tracks(encoder, SOURCES[spec["name"]]) | spec
  index = encode_source(
    encoder,
    spec,
    args.out,
    Encoding(
      format=args.format,
      clips_per_shard=args.clips_per_shard,
      batch_size=args.batch_size,
      num_threads=args.threads,
      process_index=args.process_index,
      process_count=args.process_count,
    ),
    lambda shards, total: tqdm.tqdm(
      shards, total=total, unit="shard", leave=False, disable=None
    ),
  )
  print(
    f"{index['clips']} clips in {len(index['shards'])} shards, "
    f"{len(index['missing'])} missing"
  )
  for name, reason in index["missing"]:
    print(f"  {name}: {reason}")
  return int(bool(index["missing"]))
