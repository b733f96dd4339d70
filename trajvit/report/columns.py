"""Which results may stand in one column, and what sets the others apart.

Two numbers belong in one column if they come from the same clips, sampled and
resized alike, and from an evaluator with the same options. That is what the
manifest of a result is for: every field of it counts, but for those below.
"""

import dataclasses
import json
from collections.abc import Iterable

from trajvit.report.runs import Run, names_of

# What a comparison may be about, and what is told but splits nothing; `data`
# and its hash are compared apart, see `_parts_by_data`.
ABOUT = ("step", "tracks_are_ground_truth", "dtype")
TOLD = ("device", "commit", "versions", "clips_missing", "clips_failed")
# Options of evaluators that change no number that is shown.
OPTIONS = (
  "bootstrap",
  "budgets",
  "batches",
  "dual_softmax",
  "repeats",
  "timing",
)
UNCOUNTED = (
  *ABOUT,
  *TOLD,
  "data",
  "data_hash",
  *(f"evaluator.{option}" for option in OPTIONS),
)
# Options of a source that do not say which clips it has.
_ASIDE = ("tracks", "cache_dir")
_LONGEST = 32  # characters of a value in a head


@dataclasses.dataclass(frozen=True)
class Column:
  """Runs whose results of one evaluation may be compared.

  Attributes:
    key: of the evaluation.
    runs: with a result of it.
    apart: what sets it apart from other columns of the key: field -> value;
      empty for an only column.
  """

  key: str
  runs: tuple[Run, ...]
  apart: dict[str, object]

  @property
  def label(self) -> str:
    """The key, and what sets it apart, such as "static, uniform"."""
    return ", ".join([self.key, *self.spelled])

  @property
  def spelled(self) -> list[str]:
    """What sets it apart, in a few words each."""
    return [spell(field, found) for field, found in self.apart.items()]

  def has(self, run: Run) -> bool:
    """Returns whether the run's result stands in this column."""
    return any(other is run for other in self.runs)


def split(runs: list[Run], key: str, *, machine: bool = False) -> list[Column]:
  """Returns the columns that the results of an evaluation take.

  Args:
    runs: those without a result of it are left out.
    key: of the evaluation.
    machine: whether the numbers depend on the device and the batch, as times
      and memory do.
  """
  classes = {}
  for run in runs:
    if key in run.evals:
      found = conditions(run, key, machine=machine)
      name = json.dumps(found, sort_keys=True)
      classes.setdefault(name, (found, []))[1].append(run)
  fields = _differing([found for found, _ in classes.values()])
  columns = []
  for found, members in classes.values():
    apart = {field: found.get(field) for field in fields}
    for more, part in _parts_by_data(members, key):
      columns.append(Column(key, tuple(part), apart | more))
  return columns


def conditions(run: Run, key: str, *, machine: bool = False) -> dict:
  """Returns {field: value} of what two results in one column share."""
  result = run.evals[key]
  fields = flat(result["manifest"])
  found = {
    field: value
    for field, value in fields.items()
    if value is not None
    and not any(field == x or field.startswith(f"{x}.") for x in UNCOUNTED)
  }
  if machine:
    found["device"] = fields.get("device")
    found["batch_size"] = result["metrics"].get("batch_size")
  return found


def explain(
  runs: list[Run], keys: Iterable[str], *, machine: bool = False
) -> list[str]:
  """Returns sentences on what sets columns apart, [] where nothing does.

  Args:
    runs: of the page.
    keys: of evaluations; those that are split alike share a sentence.
    machine: see `split`; the sentence is then about time and memory.
  """
  found = {}
  for key in keys:
    columns = split(runs, key, machine=machine)
    if len(columns) > 1:
      parts = [
        f"{_told(column)}: {', '.join(names_of(column.runs))}"
        for column in columns
      ]
      found.setdefault("; ".join(parts), []).append(key)
  return [
    ("Time and memory" if machine else f"Results of {', '.join(alike)}")
    + f" are not in one column, as they were not made alike ({parts})."
    for parts, alike in found.items()
  ]


def _told(column: Column) -> str:
  """What sets a column apart, with a word on what it is about."""
  words = [
    f"sampling {found}" if field == "sampling" else spell(field, found)
    for field, found in column.apart.items()
  ]
  return ", ".join(words)


def spell(field: str, value: object) -> str:
  """Returns a condition in a few words."""
  short = field.rsplit(".", 1)[-1]
  text = value if isinstance(value, str) else json.dumps(value)
  text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
  if value is None:
    return (
      f"{short} {'by default' if field.startswith('data.') else 'not told'}"
    )
  if field in ("sampling", "device"):
    return text
  if field == "frames":
    return f"{text} frames"
  if field == "batch_size":
    return f"batches of {value:g}"
  if field == "data_hash":
    return f"data {text[:8]}"
  return f"{short} {text}"


def flat(tree: dict, prefix: str = "") -> dict:
  """Returns {"a.b": value} of nested dicts."""
  found = {}
  for name, value in tree.items():
    if isinstance(value, dict) and value:
      found |= flat(value, f"{prefix}{name}.")
    else:
      found[prefix + name] = value
  return found


def _differing(many: list[dict]) -> list[str]:
  fields = {field: None for found in many for field in found}
  return [
    field
    for field in fields
    if len({json.dumps(found.get(field)) for found in many}) > 1
  ]


def _parts_by_data(runs, key):
  """[(what sets apart, runs)]: a part for every content of the data.

  Options of the source name a part, or the hash where they do not tell.

  The hash tells the content, of tracks too. Where runs differ in the kind of
  tracks, which a comparison may be about, it says nothing of the clips; they
  are then held to be the same if the source has the same options, and if no
  kind of tracks comes with two hashes.
  """
  manifests = [run.evals[key]["manifest"] for run in runs]
  hashes = {}
  for manifest in manifests:
    kind = json.dumps(_tracks(manifest))
    hashes.setdefault(kind, set()).add(manifest.get("data_hash"))
  sources = {json.dumps(_source(x), sort_keys=True) for x in manifests}
  one_each = all(len(found) == 1 for found in hashes.values())
  same = len(set.union(*hashes.values())) == 1
  if same or (one_each and len(sources) == 1):
    return [({}, runs)]
  parts = {}
  for run, manifest in zip(runs, manifests, strict=True):
    parts.setdefault(manifest.get("data_hash"), []).append(run)
  options = [_source(part[0].evals[key]["manifest"]) for part in parts.values()]
  fields = _differing(options)
  told = [{f"data.{x}": found.get(x) for x in fields} for found in options]
  if len({json.dumps(x) for x in told}) < len(parts):
    told = [{"data_hash": found} for found in parts]
  return list(zip(told, parts.values(), strict=True))


def _tracks(manifest):
  data = manifest.get("data") or {}
  return manifest.get("tracks_are_ground_truth"), data.get("tracks")


def _source(manifest):
  data = manifest.get("data") or {}
  return flat({k: v for k, v in data.items() if k not in _ASIDE})
