"""`trajvit export`: a trained encoder as a directory that runs anywhere."""

import argparse
from pathlib import Path

from trajvit.export.programs import PLATFORMS
from trajvit.export.write import export_run
from trajvit.training.restore import restore_run


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the arguments of the command."""
  parser.add_argument("workdir", help="directory of the run")
  parser.add_argument("out", help="directory to make")
  parser.add_argument(
    "--step", type=_step, help='a number or "best"; default: the newest'
  )
  parser.add_argument(
    "--ema",
    action=argparse.BooleanOptionalAction,
    help="the moving average of the weights; default: where the run keeps one",
  )
  parser.add_argument(
    "--platforms",
    type=lambda text: tuple(text.split(",")),
    default=PLATFORMS,
    help=f"some of {','.join(PLATFORMS)}, cpu among them; default: all",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace an export that is there"
  )


def run(args: argparse.Namespace) -> None:
  """Exports, and prints what was written and how it compares."""
  restored = restore_run(args.workdir, step=args.step, ema=args.ema)
  config = export_run(
    restored, args.out, platforms=args.platforms, overwrite=args.overwrite
  )
  weights = "moving average of the weights" if config["ema"] else "weights"
  print(f"{args.out}: {weights} at step {config['step']}")
  for program in config["programs"].values():
    inputs = ", ".join(
      f"{x['name']} {x['dtype']} [{', '.join(map(str, x['shape']))}]"
      for x in program["inputs"]
    )
    print(f"  {program['file']}  {inputs}")
  for file in sorted(Path(args.out).iterdir()):
    print(f"  {file.name:22}{file.stat().st_size / 1e3:10.1f} kB")
  parity = config["parity"]
  for name, found in parity["max_abs_difference"].items():
    sizes = ", ".join(f"{x:.1e} for batch {n}" for n, x in found.items())
    print(f"parity of {name}: {sizes}")
  print(f"parity is within {parity['tolerance']:.0e} on {parity['device']}")


def _step(text: str) -> int | str:
  return text if text == "best" else int(text)
