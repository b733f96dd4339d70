"""AdamW with groups by parameter path: decay, rates, and frozen parts."""

import re
from collections.abc import Callable, Sequence

import jax
import optax

from trajvit.training.config import OptimizerConfig
from trajvit.training.functional import path_name
from trajvit.training.schedule import warmup_cosine

# A parameter of this name has no weight decay. Class tokens, latents, registers
# and tables of positions are inputs rather than weights, and a decayed
# temperature would drift for no reason in the data (here we differ from
# TrajViT, which decays them). Names count besides the number of axes: the
# layers of a stack share one array, so that their biases have two axes.
NO_DECAY = frozenset(
  {
    "bias",
    "scale",
    "gamma",
    "class_token",
    "cls",
    "codebook",
    "latents",
    "mask_token",
    "null_vectors",
    "position",
    "positions",
    "registers",
    "temperature",
    "log_temperature",
    "logit_bias",
  }
)


def decays(path: str, shape: tuple[int, ...]) -> bool:
  """Returns whether weight decay applies to a parameter.

  Args:
    path: such as `tokenizer/stem/kernel`; the last name that is no index in a
      list decides.
    shape: of the parameter; fewer than two axes never decay.
  """
  names = [name for name in path.split("/") if not name.isdigit()]
  return len(shape) >= 2 and names[-1] not in NO_DECAY


def decay_mask(params: dict) -> dict:
  """Returns `params` with a bool for every array, True = it decays."""
  return jax.tree_util.tree_map_with_path(
    lambda path, x: decays(path_name(path), x.shape), params
  )


def frozen_mask(params: dict, patterns: Sequence[str]) -> dict:
  """Returns `params` with a bool for every array, True = it stays as it is.

  Args:
    params: nested dict of arrays.
    patterns: regular expressions, each to be found in the path of some array.

  Raises:
    ValueError: a pattern that is found in no path: nothing would be frozen.
  """
  _check_used(params, patterns, "frozen")
  return _found(params, patterns)


def rate_groups(params: dict, patterns: Sequence[str]) -> dict:
  """Returns `params` with the pattern found in the path of every array, or "".

  Args:
    params: nested dict of arrays.
    patterns: regular expressions, each to be found in the path of some array.

  Raises:
    ValueError: a pattern that is found in no path, or two in one.
  """
  _check_used(params, patterns, "rates")

  def group(path, _):
    name = path_name(path)
    found = [p for p in patterns if re.search(p, name)]
    if len(found) > 1:
      raise ValueError(
        f"config.optimizer.rates has several patterns for {name}: {found}"
      )
    return found[0] if found else ""

  return jax.tree_util.tree_map_with_path(group, params)


def build_optimizer(
  config: OptimizerConfig, total_steps: int
) -> tuple[optax.GradientTransformation, Callable]:
  """Returns the optimizer and its schedule, step -> learning rate.

  AdamW, arXiv:1711.05101: the decay is multiplied by the learning rate.
  """
  schedule = warmup_cosine(
    config.learning_rate,
    warmup_steps=config.warmup_steps,
    total_steps=total_steps,
    floor=config.floor,
  )

  def adamw(schedule):
    tx = optax.adamw(
      schedule,
      b1=config.b1,
      b2=config.b2,
      weight_decay=config.weight_decay,
      mask=decay_mask,
    )
    if not config.clip_norm:
      return tx
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), tx)

  tx = adamw(schedule)
  if config.rates:
    groups = {
      pattern: adamw(_scaled(schedule, factor))
      for pattern, factor in config.rates.items()
    }
    tx = optax.partition(
      groups | {"": tx},
      # A stand-in for parameters is one leaf, see below: of any group.
      lambda params: (
        rate_groups(params, config.rates) if isinstance(params, dict) else ""
      ),
    )
  if config.frozen:
    tx = optax.partition(
      {False: tx, True: optax.set_to_zero()},
      # Optax also asks this of stand-ins for parameters, which have no paths.
      lambda params: _found(params, config.frozen),
    )
  return tx, schedule


def _found(params, patterns):
  """A bool for every array: whether a pattern is found in its path."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: any(re.search(p, path_name(path)) for p in patterns), params
  )


def _scaled(schedule, factor):
  return lambda step: factor * schedule(step)


def _check_used(params, patterns, option):
  """Raises ValueError for a pattern that is found in no path of `params`."""
  leaves = jax.tree_util.tree_leaves_with_path(params)
  names = [path_name(path) for path, _ in leaves]
  unused = [p for p in patterns if not any(re.search(p, x) for x in names)]
  if unused:
    raise ValueError(
      f"config.optimizer.{option} has patterns that match no parameter: "
      f"{unused}"
    )
