"""The console command `trajvit`: one subcommand a tool, imported when used."""

import argparse
import importlib
import sys

# command -> (module with `add_arguments(parser)` and `run(args)`, help).
COMMANDS = {
  "quickstart": (
    "trajvit.report.quickstart",
    "train and compare on moving sprites",
  ),
  "list": ("trajvit.listing", "every name that a config can use"),
  "data": ("trajvit.data.commands", "check a manifest, extract tracks"),
  "export": ("trajvit.export.command", "write an encoder that runs anywhere"),
  "encode": (
    "trajvit.export.encode_command",
    "embeddings of all clips of a source",
  ),
  "convert": (
    "trajvit.interop.command",
    "PyTorch weights to a run directory, and back",
  ),
  "ckpt": (
    "trajvit.checkpoints.command",
    "look into checkpoints, convert and average them",
  ),
  "report": ("trajvit.report.command", "compare runs on one page"),
  "draw": ("trajvit.report.draw", "picture what a run's tokens own"),
  "reconstruct": (
    "trajvit.report.reconstruct",
    "picture what comes back from a run's tokens",
  ),
  "plan": (
    "trajvit.plan.command",
    "what a config needs on a pod, and how long",
  ),
  "bench": ("trajvit.bench.command", "time kernels and packing"),
}


def main(argv: list[str] | None = None) -> int:
  """Runs one subcommand; returns the exit status."""
  argv = sys.argv[1:] if argv is None else argv
  parser = argparse.ArgumentParser(prog="trajvit", description=__doc__)
  commands = parser.add_subparsers(dest="command", required=True)
  wanted = argv[0] if argv and argv[0] in COMMANDS else None
  for name, (module, text) in COMMANDS.items():
    command = commands.add_parser(name, help=text)
    if name == wanted:
      tool = importlib.import_module(module)
      tool.add_arguments(command)
      command.set_defaults(run=tool.run)
  args, overrides = parser.parse_known_args(argv)
  if overrides and not hasattr(args, "overrides"):
    parser.error(f"unrecognized arguments: {' '.join(overrides)}")
  args.overrides = overrides
  try:
    return args.run(args) or 0
  except (ValueError, FileNotFoundError, ImportError) as error:
    print(f"trajvit {args.command}: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main())
