"""`trajvit ckpt`: looks into checkpoints, converts and averages them."""

import argparse
import json

from trajvit.checkpoints import inspect as inspection
from trajvit.checkpoints.average import average
from trajvit.checkpoints.convert import DTYPES, convert
from trajvit.checkpoints.saved import find_saved, write_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the arguments of the command."""
  tools = parser.add_subparsers(dest="name", required=True)
  step = dict(type=_step, help='a number or "best"; default: the newest')

  tool = tools.add_parser("inspect", help="what a checkpoint holds")
  tool.add_argument("workdir", help="directory of the run")
  tool.add_argument("--step", **step)
  tool.add_argument("--json", action="store_true", help="as one line of JSON")
  tool.set_defaults(tool=_inspect)

  tool = tools.add_parser("convert", help="weights alone, in another form")
  tool.add_argument("workdir", help="directory of the run")
  tool.add_argument("--step", **step)
  tool.add_argument("--dtype", choices=DTYPES, help="of the parameters")
  tool.add_argument(
    "--ema",
    action="store_true",
    help="take the moving average for the parameters",
  )
  tool.add_argument("--out", required=True, help="run directory to make")
  tool.set_defaults(tool=_convert)

  tool = tools.add_parser("average", help="the mean of several checkpoints")
  tool.add_argument("workdirs", nargs="+", help="directories of runs")
  which = tool.add_mutually_exclusive_group()
  which.add_argument("--steps", type=int, nargs="+", help="of every run")
  which.add_argument(
    "--last", type=int, help="so many of the newest of every run; default: 1"
  )
  tool.add_argument(
    "--may-differ",
    nargs="+",
    default=(),
    metavar="KEY",
    help="keys of the config, such as optimizer, in which the runs may differ",
  )
  tool.add_argument("--out", required=True, help="run directory to make")
  tool.set_defaults(tool=_average)


def run(args: argparse.Namespace) -> None:
  """Runs the tool that was asked for."""
  args.tool(args)


def _inspect(args):
  found = inspection.inspect(find_saved(args.workdir, args.step))
  print(json.dumps(found) if args.json else inspection.as_text(found))


def _convert(args):
  saved = find_saved(args.workdir, args.step)
  weights, config = convert(saved, dtype=args.dtype, ema=args.ema)
  changes = [args.dtype] if args.dtype else []
  changes += ["moving average as parameters"] if args.ema else []
  out = write_weights(
    args.out,
    weights,
    config=config,
    made_from=[saved],
    made_by=f"convert: {', '.join(changes) or 'weights alone'}",
  )
  print(f"{out}: weights of step {saved.step}")


def _average(args):
  if args.last is not None and args.last < 1:
    raise ValueError(f"--last must be at least 1, got {args.last}")
  saved = []
  for workdir in args.workdirs:
    steps = args.steps
    if steps is None:
      steps = find_saved(workdir).steps[-(args.last or 1) :]
    saved += [find_saved(workdir, step) for step in steps]
  weights = average(saved, may_differ=args.may_differ)
  out = write_weights(
    args.out,
    weights,
    config=saved[-1].config,
    made_from=saved,
    made_by=f"average of {len(saved)}",
  )
  print(f"{out}: mean of {len(saved)} checkpoints")
  for each in saved:
    print(f"  {each.workdir} at step {each.step}")


def _step(text: str) -> int | str:
  return text if text == "best" else int(text)
