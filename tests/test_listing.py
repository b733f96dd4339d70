"""`trajvit list` names everything, with a line on each."""

import importlib
import pkgutil

import pytest

import trajvit
from trajvit import cli, listing
from trajvit.chips import CHIPS
from trajvit.data.transforms import VIEWS
from trajvit.export.feature_shards import SHARD_FORMATS
from trajvit.export.targets import TARGETS
from trajvit.interop.kinds import KINDS
from trajvit.table import Table


def all_tables():
  """Every table of every package, found by looking and not by a list."""
  found = {}
  for package in pkgutil.walk_packages(trajvit.__path__, "trajvit."):
    try:
      module = importlib.import_module(package.name)
    except ModuleNotFoundError as error:
      assert error.name == "torch", "what the baseline of a benchmark may need"
      continue
    found |= {id(x): x for x in vars(module).values() if isinstance(x, Table)}
  return found


def test_no_table_is_forgotten():
  listed = {id(table) for table in listing.TABLES.values()}
  # What is named on a command line or in an export, and not in a config.
  others = {
    id(table) for table in (CHIPS, KINDS, VIEWS, SHARD_FORMATS, TARGETS)
  }
  assert all_tables().keys() == listed | others


@pytest.mark.parametrize("place", listing.TABLES)
def test_every_entry_has_a_line(place):
  for name, text in listing.TABLES[place].describe():
    assert text.endswith((".", "!")), f"{name}: {text!r} is no sentence"


def test_everything_is_printed(capsys):
  assert cli.main(["list"]) == 0
  printed = capsys.readouterr().out
  for table in listing.TABLES.values():
    for name, text in table.describe():
      lines = [x for x in printed.split("\n") if x.startswith(f"  {name} ")]
      assert any(line.endswith(f"  {text}") for line in lines)


def test_columns_are_aligned():
  def short():
    """One line.

    And more that is not shown.
    """

  def silent():
    pass

  one = Table("thing", {"b": short, "a": silent})
  other = Table("other thing", {"longer": short})
  assert listing.listing({"x.y": one, "z": other}) == (
    "thing  (config: x.y)\n"
    "  a\n"
    "  b       One line.\n"
    "\n"
    "other thing  (config: z)\n"
    "  longer  One line."
  )
