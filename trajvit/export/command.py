"""`trajvit export`: a trained encoder as a directory that runs anywhere."""

import argparse
from pathlib import Path

from trajvit.export.about import about_run
from trajvit.export.accuracy_table import quantisation_lines
from trajvit.export.compact import FORMS
from trajvit.export.targets import TARGETS
from trajvit.export.write import PLATFORMS, export_run
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
    "--targets",
    type=_names,
    default=("stablehlo",),
    help=f"some of {','.join(TARGETS)}; default: stablehlo",
  )
  parser.add_argument(
    "--platforms",
    type=_names,
    default=PLATFORMS,
    help=f"some of {','.join(PLATFORMS)}, cpu among them; default: all",
  )
  parser.add_argument(
    "--license", help='of the weights, for the model card, as "apache-2.0"'
  )
  parser.add_argument(
    "--quantize", choices=FORMS, help="keep kernels so; default: as trained"
  )
  parser.add_argument(
    "--evaluate",
    action=argparse.BooleanOptionalAction,
    default=True,
    help="whether a quantized export goes through the evaluations of the run",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace an export that is there"
  )


def run(args: argparse.Namespace) -> None:
  """Exports, and prints what was written and how it compares."""
  restored = restore_run(args.workdir, step=args.step, ema=args.ema)
  config, parity = export_run(
    restored,
    args.out,
    targets=args.targets,
    platforms=args.platforms,
    overwrite=args.overwrite,
    about=about_run(args.workdir, restored, args.license),
    quantize=args.quantize,
    evaluate=args.evaluate,
  )
  weights = "moving average of the weights" if config["ema"] else "weights"
  print(f"{args.out}: {weights} at step {config['step']}")
  for programs in config["programs"].values():
    for program in programs.values():
      inputs = ", ".join(
        f"{x['name']} {x['dtype']} [{', '.join(map(str, x['shape']))}]"
        for x in program["inputs"]
      )
      print(f"  {program['file']}  {inputs}")
  for file in sorted(Path(args.out).iterdir()):
    print(f"  {file.name:24}{file.stat().st_size / 1e3:10.1f} kB")
  for target, report in parity.items():
    for name, found in report["max_abs_difference"].items():
      sizes = ", ".join(f"{x:.1e} for batch {n}" for n, x in found.items())
      print(f"parity of {name}, {target}: {sizes}")
    print(
      f"parity of {target} is within {report['tolerance']:.0e} on "
      f"{report['device']}"
    )
  for line in quantisation_lines(config, parity):
    print(line)


def _names(text: str) -> tuple[str, ...]:
  return tuple(text.split(","))


def _step(text: str) -> int | str:
  return text if text == "best" else int(text)
