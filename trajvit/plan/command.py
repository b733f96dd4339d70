"""`trajvit plan`: what a config needs on accelerators that are not at hand."""

import argparse
import dataclasses
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from trajvit.plan import page
from trajvit.plan.bracket import bracket
from trajvit.plan.devices import missing
from trajvit.plan.fit import Fit, fit_of
from trajvit.plan.remedies import remedies
from trajvit.plan.target import Target, parse_target
from trajvit.plan.worker import Compiled, Job, compile_elsewhere
from trajvit.training.provenance import commit, write_json

EFFORTS = ("O0", "O1", "O2", "O3", "default")


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the options; those like --config.x=y are left over for `run`."""
  parser.add_argument(
    "--config",
    required=True,
    help="file of the config, as train.py takes it; --config.x=y sets a value",
  )
  parser.add_argument(
    "--topology", required=True, help="such as v5e:16x16, or '8 x h100'"
  )
  parser.add_argument("--slices", type=int, default=1, help="of TPUs")
  parser.add_argument(
    "--suggest",
    action="store_true",
    help="where it does not fit, compile changes until one does",
  )
  parser.add_argument(
    "--effort",
    choices=EFFORTS,
    default="O0",
    help="XLA's optimization level: O0 is quick, and default is what trains",
  )
  parser.add_argument("--json", metavar="FILE", help="write all of it, too")
  parser.add_argument(
    "--program", metavar="FILE", default="", help="write what XLA compiled"
  )
  parser.set_defaults(overrides=[])


def run(args: argparse.Namespace) -> int:
  """Prints the plan; returns 0 if the step fits and 1 if it does not.

  Raises:
    ValueError: the config cannot be, or nothing can be compiled here.
  """
  target = parse_target(args.topology, args.slices)
  why_not = missing(target)
  if why_not is not None:
    raise ValueError(f"cannot compile for {target}: {why_not}")
  config = load_config(args.config, args.overrides)
  effort = "" if args.effort == "default" else args.effort
  compiled = compile_elsewhere(Job(config, target, effort, args.program))
  fit = fit_of(compiled, target)
  plan = _plan(config, compiled, target, fit)
  print(page.heading(args.config, args.overrides, target))
  print(page.body(compiled, fit, plan["bracket"]))

  tried = []
  if not fit.fits and args.suggest:
    for remedy in remedies(
      config, target, state_bytes=compiled.state_bytes, excess=fit.excess
    ):
      found = compile_elsewhere(Job(remedy.config, target, effort))
      after = fit_of(found, target)
      print(page.remedy(remedy, after), flush=True)
      tried.append(
        _plan(remedy.config, found, target, after)
        | {"options": remedy.options, "cost": remedy.cost}
      )
      if after.fits:
        print(page.body(found, after, tried[-1]["bracket"]))
        break
    else:
      print("nothing that was tried makes it fit: more chips, or less of it")
  elif not fit.fits:
    print("--suggest looks for the cheapest change that makes it fit")
  if args.json:
    _write(args, plan, tried)
  return 0 if fit.fits else 1


def load_config(path: str, overrides: list[str]) -> dict:
  """Returns a config as plain nested values.

  Args:
    path: "FILE" or "FILE:argument", as for train.py.
    overrides: such as "--config.mesh.fsdp=16".

  Raises:
    ValueError: no such file, or an option that the config has not.
  """
  file = Path(path.partition(":")[0])
  if not file.is_file():
    raise ValueError(f"--config must be a file, got {path!r}")
  # A config imports its neighbours from the folder that holds them all.
  root = str(file.resolve().parents[1])
  if root not in sys.path:
    sys.path.insert(0, root)
  line = ["trajvit plan", f"--config={path}", *overrides]
  values = flags.FlagValues()
  config_flags.DEFINE_config_file(
    "config", None, "File of the config.", flag_values=values, sys_argv=line
  )
  try:
    unread = values(line)[1:]
  except (flags.Error, KeyError, AttributeError) as error:
    raise ValueError(f"{path}: {error.args[0]}") from error
  if unread:
    raise ValueError(f"nobody reads {' '.join(unread)}")
  return values.config.to_dict()


def _plan(config: dict, compiled: Compiled, target: Target, fit: Fit) -> dict:
  """What there is to say, for the page and for JSON."""
  found = None
  if compiled.traffic is not None:
    found = bracket(
      compiled,
      target,
      clips=config["data"]["batch_size"],
      total_steps=config["total_steps"],
    )
  return {"compiled": compiled, "fit": fit, "bracket": found}


def _write(args, plan, tried):
  def plain(values):
    return {
      key: dataclasses.asdict(value)
      if dataclasses.is_dataclass(value)
      else value
      for key, value in values.items()
    }

  write_json(
    args.json,
    {
      "config": args.config,
      "overrides": args.overrides,
      "topology": args.topology,
      "slices": args.slices,
      "effort": args.effort,
      "commit": commit(),
      **plain(plan),
      "tried": [plain(each) for each in tried],
    },
  )
