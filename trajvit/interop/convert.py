"""From PyTorch's arrays to ours by a table of names, and back."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from trajvit.interop.names import NameTable, matches, origin
from trajvit.training.functional import named_leaves, path_name


@dataclasses.dataclass(frozen=True)
class Report:
  """What became of every array.

  Attributes:
    used: names of theirs that ours were made of.
    unused: {name of theirs: why our model does not read it}.
    fresh: {name of ours: why it kept its initial value}.
    extra: names of theirs that no entry knows, as the caller allowed.
    missing: names of ours that nothing was found for, as the caller allowed.
    carried: {name of theirs: array} that our model cannot give back: those in
      `unused` and `extra`, and what was rounded on the way here.
  """

  used: tuple[str, ...]
  unused: dict[str, str]
  fresh: dict[str, str]
  extra: tuple[str, ...]
  missing: tuple[str, ...]
  carried: dict[str, np.ndarray]


def convert(
  table: NameTable,
  arrays: Mapping[str, np.ndarray],
  like: dict,
  *,
  allow: Sequence[str] = (),
) -> tuple[dict, Report]:
  """Returns our variables, made of their arrays.

  Args:
    table: of both models.
    arrays: theirs, by name, of a dtype that ours hold without rounding.
    like: {"params", "batch_stats"} with the initial values of our model, whose
      shapes and dtypes count, and which what is fresh keeps.
    allow: names of theirs that may be there in vain, and names of ours that may
      keep their initial value for want of theirs; `*` stands for anything.

  Returns:
    Variables like `like`, and what became of every array.

  Raises:
    ValueError: names that are unmatched on either side, all of them listed; an
      array whose shape or dtype does not fit; or one that is not what the table
      says it is.
  """
  leaves = named_leaves(like)
  known = {there: name for name, there in table.spelled.items()}
  arrays = {known.get(name, name): x for name, x in arrays.items()}
  unused = _unused(table, arrays)
  made, missing, carried = {}, {}, {name: arrays[name] for name in unused}
  consumed = set(unused)
  for match in matches(table, leaves):
    names = [name for row in match.theirs for name in row]
    absent = [x for x in names if x not in arrays or x in unused]
    consumed |= set(names) - set(absent)
    if absent:
      missing |= dict.fromkeys(match.ours, absent)
      carried |= {x: np.asarray(arrays[x]) for x in set(names) - set(absent)}
      continue
    made |= _forward(match, arrays, leaves)
    if not match.layout.exact:
      carried |= {name: np.asarray(arrays[name]) for name in names}
  rest = leaves.keys() - made.keys() - missing.keys() - table.fresh.keys()
  missing |= {name: ["no entry of the table"] for name in rest}
  extra = sorted(arrays.keys() - consumed)
  _refuse(extra, missing, allow)
  carried |= {name: np.asarray(arrays[name]) for name in extra}
  report = Report(
    used=tuple(sorted(consumed - unused.keys())),
    unused=unused,
    fresh={x: why for x, why in table.fresh.items() if x in leaves},
    extra=tuple(extra),
    missing=tuple(sorted(missing)),
    carried=carried,
  )
  return _with_leaves(like, made), report


def convert_back(
  table: NameTable,
  variables: dict,
  carried: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
  """Returns their arrays by name, made of our variables.

  Args:
    table: of both models.
    variables: {"params", "batch_stats"}.
    carried: of the report, for what our model does not have. What was rounded
      is taken from it where our value is still the rounded one.

  Raises:
    ValueError: a name of ours that the table does not know.
  """
  carried = carried or {}
  leaves = {name: np.asarray(x) for name, x in named_leaves(variables).items()}
  found, known = dict(carried), set(table.fresh)
  for match in matches(table, leaves):
    known |= set(match.ours)
    values = [leaves[name] for name in match.ours]
    for i, names in enumerate(match.theirs):
      layer = [x[i] for x in values] if match.stacked else values
      found |= _back(match.layout, names, layer, carried)
  unknown = sorted(leaves.keys() - known)
  if unknown:
    raise ValueError(
      f"{len(unknown)} arrays have no name there: {', '.join(unknown[:5])}"
    )
  for name in carried:
    if (of := origin(table, name)) in found:
      found[name] = found[of]
  return {table.spelled.get(name, name): x for name, x in found.items()}


def _forward(match, arrays, leaves):
  """{name of ours: array}."""
  rows = []
  for names in match.theirs:
    given = [np.asarray(arrays[name]) for name in names]
    shapes = [x.shape for x in given]
    try:
      rows.append(match.layout.forward(given))
      wanted = [x.shape for x in match.layout.back(rows[-1])]
      if shapes != wanted:
        raise ValueError(f"expected {[list(shape) for shape in wanted]}")
    except ValueError as error:
      found = [list(shape) for shape in shapes]
      raise ValueError(f"{', '.join(names)} {found}: {error}") from error
  made = {}
  for i, name in enumerate(match.ours):
    parts = [row[i] for row in rows]
    wanted = leaves[name]
    shape = wanted.shape[1:] if match.stacked else wanted.shape
    for part, names in zip(parts, match.theirs, strict=True):
      if part.shape != shape:
        theirs = [list(np.shape(arrays[x])) for x in names]
        raise ValueError(
          f"{', '.join(names)} {theirs} gives {list(part.shape)}, but {name} "
          f"takes {list(shape)}"
        )
    value = np.stack(parts) if match.stacked else parts[0]
    made[name] = _cast(value, wanted.dtype, match, name)
  return made


def _cast(value, dtype, match, name):
  """The same numbers in our dtype; a logarithm is rounded, others are not."""
  cast = value.astype(dtype)
  known = value.dtype == dtype or not match.layout.exact
  if not known and not np.array_equal(
    cast.astype(value.dtype), value, equal_nan=True
  ):
    raise ValueError(
      f"{match.theirs[0][0]}: {value.dtype} would be rounded to the {dtype} of "
      f"{name}"
    )
  return cast


def _back(layout, names, values, carried):
  """{name of theirs: array} of one row."""
  parts = dict(zip(names, layout.back(values), strict=True))
  if layout.exact:
    return {x: np.asarray(part, order="C") for x, part in parts.items()}
  if all(name in carried for name in names):
    again = layout.forward([carried[name] for name in names])
    if all(
      np.array_equal(x.astype(y.dtype), y)
      for x, y in zip(again, values, strict=True)
    ):
      return {name: carried[name] for name in names}
  return parts


def _unused(table, arrays):
  """{name: reason} of what is not read, after a look at what it holds."""
  found = {}
  for name in arrays:
    if (of := origin(table, name)) in arrays:
      if not np.array_equal(arrays[name], arrays[of]):
        raise ValueError(f"{name} must be the same as {of}, and is not")
      found[name] = f"the same as {of}"
      continue
    rule = next(
      (x for x in table.unused if fnmatch.fnmatchcase(name, x.theirs)), None
    )
    if rule is None:
      continue
    if rule.expected is not None:
      value = np.asarray(arrays[name], np.float64)
      wanted = rule.expected(value)
      if not np.allclose(value, wanted, rtol=1e-5, atol=rule.within):
        raise ValueError(f"{name}: expected {rule.reason}, got other numbers")
    found[name] = rule.reason
  return found


def _refuse(extra, missing, allow):
  """Raises ValueError unless the caller allowed all that is unmatched."""

  def allowed(name):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in allow)

  lines = [f"  extra    {name}" for name in extra if not allowed(name)]
  for name, absent in sorted(missing.items()):
    if not allowed(name):
      lines.append(f"  missing  {', '.join(absent)}  for {name}")
  if lines:
    raise ValueError(
      f"{len(lines)} arrays are unmatched; what may be is to be allowed by its "
      "name:\n" + "\n".join(lines)
    )


def _with_leaves(like, made):
  return jax.tree_util.tree_map_with_path(
    lambda path, x: made.get(path_name(path), x), like
  )
