"""A run that starts from parts of another one's weights."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from trajvit.training.config import WarmStartConfig
from trajvit.training.functional import path_name
from trajvit.training.restore import restore_run
from trajvit.training.state import TrainState


def warm_start(state: TrainState, config: WarmStartConfig) -> TrainState:
  """Returns a first state with weights of another run put in.

  Its moving average starts at them, and its moments where they were: at zero.

  Args:
    state: before the first step.
    config: which run, and which parts go where.

  Raises:
    ValueError: the parts of the two models differ; see `transplant`.
    FileNotFoundError: no such run or checkpoint.
  """
  run = restore_run(config.workdir, step=config.step)
  variables = {"params": state.params, "batch_stats": state.batch_stats}
  variables = transplant(variables, run.variables, config.parts)
  return dataclasses.replace(
    state,
    **variables,
    # A copy: the step gives its inputs away, and no buffer can go twice.
    ema=state.ema and jax.tree.map(jnp.copy, variables["params"]),
  )


def transplant(variables: dict, source: dict, parts: dict[str, str]) -> dict:
  """Returns `variables` with parts of `source` in place of their own.

  Args:
    variables: {"params", "batch_stats"} of a model; its arrays keep their
      layout on the devices.
    source: the same of another model.
    parts: path of a module or array here -> where it is in `source`, such as
      `{"features/encoder": "encoder"}`; an empty path is the whole model.

  Raises:
    ValueError: no parts, nothing at a path, an array that only one side has, or
      one of another shape.
  """
  if not parts:
    raise ValueError("warm_start.parts must name what to take, got none")
  new = {}
  for place, origin in parts.items():
    here, there = (
      {(kind, rest): x for kind in tree for rest, x in _below(tree[kind], path)}
      for tree, path in ((variables, place), (source, origin))
    )
    unlike = sorted(
      f"{kind}/{rest}"
      for kind, rest in here.keys() | there.keys()
      if _shape(here, (kind, rest)) != _shape(there, (kind, rest))
    )
    if unlike or not here:
      raise ValueError(
        f"warm_start: {place!r} of this model has {len(here)} arrays and "
        f"{origin!r} of the other one {len(there)}; "
        f"{len(unlike)} differ: {', '.join(unlike[:3])}"
      )
    new |= {(kind, _join(place, rest)): x for (kind, rest), x in there.items()}

  def choose(kind, path, x):
    found = new.get((kind, path_name(path)))
    return x if found is None else jax.device_put(found, x.sharding)

  return {
    kind: jax.tree_util.tree_map_with_path(
      functools.partial(choose, kind), variables[kind]
    )
    for kind in variables
  }


def _below(tree, place):
  """(path from `place` on, array) of every array there."""
  for path, x in jax.tree_util.tree_leaves_with_path(tree):
    name = path_name(path)
    if not place:
      yield name, x
    elif name == place or name.startswith(f"{place}/"):
      yield name[len(place) + 1 :], x


def _join(place, rest):
  return "/".join(part for part in (place, rest) if part)


def _shape(arrays, key):
  return arrays[key].shape if key in arrays else None
