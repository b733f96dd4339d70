"""What the manifests of results do not share, whether it splits them or not."""

import dataclasses

from trajvit.report.columns import flat, split
from trajvit.report.runs import Run, group_runs, names_of
from trajvit.training.workdir import config_differences

MISSING = "not told"


@dataclasses.dataclass(frozen=True)
class Difference:
  """A field of manifests in which runs differ.

  Attributes:
    field: its name, "a.b" for one inside another.
    keys: of the evaluations where it takes these values.
    values: (value as text, names of the runs that have it), in order.
    apart: whether the results stand in different columns.
  """

  field: str
  keys: tuple[str, ...]
  values: tuple[tuple[str, tuple[str, ...]], ...]
  apart: bool


def differences(runs: list[Run]) -> list[Difference]:
  """Returns the fields that differ, those that split columns first.

  Evaluations in which runs differ in the same way share an entry. A run without
  the evaluation takes no part in it; one whose manifest lacks a field that
  others have does.
  """
  found = {}
  for key in dict.fromkeys(key for run in runs for key in run.evals):
    members = [run for run in runs if key in run.evals]
    manifests = [flat(run.evals[key]["manifest"]) for run in members]
    columns = split(members, key)
    for field in dict.fromkeys(name for x in manifests for name in x):
      groups = {}
      for run, manifest in zip(members, manifests, strict=True):
        value = manifest.get(field)
        text = MISSING if value is None else str(value)
        groups.setdefault(text, []).append(run)
      if len(groups) > 1:
        values = tuple((x, tuple(names_of(g))) for x, g in groups.items())
        apart = any(field in column.apart for column in columns)
        found.setdefault((field, values, apart), []).append(key)
  entries = [
    Difference(field, tuple(keys), values, apart)
    for (field, values, apart), keys in found.items()
  ]
  return sorted(entries, key=lambda entry: not entry.apart)


def unlike_seeds(runs: list[Run]) -> list[str]:
  """Returns a sentence for each method whose runs differ in more than the seed.

  They have one name, so that the page takes them for seeds of one method.
  """
  sentences = []
  for name, (first, *others) in group_runs(runs).items():
    keys = {
      key: None
      for other in others
      for key in config_differences(first.config, other.config, ("seed",))
    }
    if keys:
      sentences.append(
        f"Runs called {name} are put together as seeds, but their configs "
        f"differ in {', '.join(keys)}."
      )
  return sentences


def as_rows(entries: list[Difference]) -> list[list[str]]:
  """Returns rows of text, the head first, a row a value."""
  rows = [["field", "evaluations", "value", "runs", "in one column"]]
  for entry in entries:
    rows += [
      [
        entry.field,
        ", ".join(entry.keys),
        value,
        ", ".join(names),
        "no" if entry.apart else "yes",
      ]
      for value, names in entry.values
    ]
  return rows
