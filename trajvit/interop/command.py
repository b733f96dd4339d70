"""`trajvit convert`: weights of others to a run directory, and back."""

import argparse
import json
from pathlib import Path

from trajvit.interop.kinds import KINDS, kind_of
from trajvit.interop.load import config_of, load_torch
from trajvit.interop.state_dict import (
  NPZ,
  PYTORCH,
  SAFETENSORS,
  read_state_dict,
  write_state_dict,
)
from trajvit.interop.write import read_back, write_converted

TO = {"npz": (NPZ,), "torch": (*PYTORCH, SAFETENSORS)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the arguments of the command."""
  parser.add_argument("src", help="file of weights; with --to a run directory")
  parser.add_argument("out", help="run directory to make; with --to a file")
  parser.add_argument(
    "--kind", choices=sorted(KINDS), help="default: told by the names"
  )
  parser.add_argument(
    "--config",
    default="{}",
    help="JSON, or a file of it: what the weights cannot tell, such as "
    '{"num_heads": 8, "frames": 16}',
  )
  parser.add_argument(
    "--compat", action="store_true", help="do as the code they come from"
  )
  parser.add_argument(
    "--allow",
    nargs="+",
    default=(),
    metavar="NAME",
    help="arrays that may be unmatched; * stands for anything",
  )
  parser.add_argument(
    "--part", help='where in a .pth they are, such as "model"'
  )
  parser.add_argument(
    "--strip", default="", help='what names begin with, such as "module."'
  )
  parser.add_argument(
    "--to",
    choices=sorted(TO),
    help="the other way: to a .npz file, or to a .safetensors or PyTorch one",
  )
  parser.add_argument(
    "--like",
    help="with --to: the converted run that SRC was trained from; default: SRC",
  )


def run(args: argparse.Namespace) -> None:
  """Converts, and prints what became of the arrays."""
  if args.to:
    if Path(args.out).exists():
      raise ValueError(f"{args.out} exists")
    if Path(args.out).suffix not in TO[args.to]:
      raise ValueError(
        f"{args.out}: --to {args.to} writes files that end in "
        f"{', '.join(TO[args.to])}"
      )
    arrays = read_back(args.src, args.like)
    write_state_dict(args.out, arrays)
    print(f"{args.out}: {len(arrays)} arrays")
    return
  arrays = read_state_dict(args.src, part=args.part, strip=args.strip)
  kind = args.kind or kind_of(arrays)
  config = config_of(kind, args.src, _config(args.config))
  converted, report = load_torch(
    kind, arrays, config, compat=args.compat, allow=args.allow
  )
  write_converted(converted, report, args.out, source=args.src)
  behaviour = "as the code it comes from" if args.compat else "corrected"
  print(f"{args.out}: {kind}, {behaviour}")
  print(f"  {len(report.used)} arrays used")
  for what, names in {
    "not read": report.unused,
    "not in the source": report.fresh,
    "unknown, allowed": report.extra,
    "missing, allowed": report.missing,
  }.items():
    if names:
      print(f"  {len(names)} {what}; see README.md")


def _config(text: str) -> dict:
  """The config from JSON or a file of it.

  Raises:
    ValueError: it is no JSON object.
  """
  if not text.lstrip().startswith("{"):
    text = Path(text).read_text(encoding="utf-8")
  config = json.loads(text)
  if not isinstance(config, dict):
    raise ValueError(f"--config must be a JSON object, got {text[:40]}")
  return config
