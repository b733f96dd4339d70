"""`trajvit data`: the tools for one's own data, imported when used."""

import argparse
import importlib

# tool -> (module with `add_arguments(parser)` and `run(args)`, help).
TOOLS = {
  "check": ("trajvit.data.check.command", "decode every clip, propose sizes"),
  "pack": ("trajvit.data.formats.command", "pack clips into few files"),
  "tracks": ("trajvit.data.extract.command", "extract tracks from pixels"),
  "masklets": ("trajvit.data.masklets.command", "make tracks of masklets"),
  "quality": ("trajvit.data.quality.command", "say how good tracks are"),
}


class _ToolParser(argparse.ArgumentParser):
  """The parser of one tool, which imports the tool when it is chosen.

  Extracting tracks needs libraries that checking a manifest must not.
  """

  module: str | None = None

  def parse_known_args(self, args=None, namespace=None):
    if self.module:
      try:
        tool = importlib.import_module(self.module)
      except ImportError as error:
        self.error(f"an optional library is missing: {error}")
      self.module = None
      tool.add_arguments(self)
      self.set_defaults(run_tool=tool.run)
    return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the tools."""
  tools = parser.add_subparsers(
    dest="tool", required=True, parser_class=_ToolParser
  )
  for name, (module, text) in TOOLS.items():
    tools.add_parser(name, help=text).module = module


def run(args: argparse.Namespace) -> int:
  """Runs the chosen tool; returns the exit status."""
  return args.run_tool(args)
