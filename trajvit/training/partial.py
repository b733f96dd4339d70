"""A checkpoint that lacks arrays of a model, restored as far as it goes."""

import jax
from absl import logging

from trajvit.training.checkpoint import Checkpoints, differences
from trajvit.training.functional import named_leaves, path_name


def restore_partly(
  checkpoints: Checkpoints,
  like: dict,
  initial: dict,
  *,
  step: int,
  ema: bool = False,
) -> dict:
  """Returns variables of which some keep their initial values; all are logged.

  Args:
    checkpoints: of the run.
    like: ShapeDtypeStructs with shardings, of all variables.
    initial: their initial values.
    step: which checkpoint.
    ema: the moving average in place of the parameters.

  Raises:
    ValueError: the checkpoint has none of the model's arrays.
  """
  saved = checkpoints.saved_variables(step, ema=ema)
  for line in differences(saved, like):
    logging.warning("%s", line)
  found, expected = named_leaves(saved), named_leaves(like)
  known = {
    name
    for name, x in expected.items()
    if name in found and found[name].shape == x.shape
  }
  if not known:
    raise ValueError("the checkpoint has not one array of the model")
  part = checkpoints.restore_variables(
    {key: _only(value, known, key) for key, value in like.items()},
    step=step,
    ema=ema,
    exact=False,
  )
  part = named_leaves(part)
  return jax.tree_util.tree_map_with_path(
    lambda path, x: part.get(path_name(path), x), initial
  )


def _only(tree, known, path):
  """A nested dict without the leaves whose path is not known."""
  kept = {}
  for key, value in tree.items():
    name = f"{path}/{key}"
    if not isinstance(value, dict):
      if name in known:
        kept[key] = value
    elif below := _only(value, known, name):
      kept[key] = below
  return kept
