"""The arithmetic mean of the weights of several checkpoints.

Of one run: the end of its trajectory smoothed (Izmailov et al., "Averaging
Weights Leads to Wider Optima", arXiv:1803.05407). Of several runs that started
from the same weights: a soup (Wortsman et al., arXiv:2203.05482). Unlike the
former we do not pass over the data again for the running statistics of
BatchNorm: their mean is taken, as of everything else.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.checkpoints.saved import Saved
from trajvit.training.functional import named_leaves, path_name
from trajvit.training.workdir import config_differences


def average(saved: Sequence[Saved], *, may_differ: Sequence[str] = ()) -> dict:
  """Returns the mean weights, summed in float32, in the dtypes of the first.

  Args:
    saved: at least two checkpoints.
    may_differ: keys of the config, such as "optimizer", in which their runs may
      differ besides those in which a run and its continuation may.

  Returns:
    {"params", "ema", "batch_stats"}, those that were saved, nested arrays.

  Raises:
    ValueError: less than two checkpoints, or one that has another config,
      other leaves, shapes or dtypes than the first, or another whole number.
  """
  if len(saved) < 2:
    raise ValueError(
      f"a mean takes at least two checkpoints, got {len(saved)}; give several "
      "runs, --steps or --last"
    )
  first = saved[0]
  for other in saved[1:]:
    _check_configs(first, other, may_differ)
    _check_trees(first, other)

  sums = {
    k: _wide(x) for k, x in named_leaves(first.read(first.weights)).items()
  }
  for other in saved[1:]:
    for name, x in named_leaves(other.read(first.weights)).items():
      if _is_float(x):
        sums[name] += _wide(x)
      elif not np.array_equal(sums[name], x):
        raise ValueError(
          f"{name} is counted, not learned, and differs between "
          f"{_name(first)} and {_name(other)}: {sums[name]} and {x}"
        )

  def mean(path, like):
    x = sums[path_name(path)]
    return (x / len(saved)).astype(like.dtype) if _is_float(x) else x

  like = {name: first.state[name] for name in first.weights}
  return jax.tree_util.tree_map_with_path(mean, like)


def _check_configs(first, other, may_differ):
  """Raises ValueError where two runs differ as a continuation may not."""
  found = config_differences(first.config, other.config, may_differ)
  differing = [f"{key} is {x!r} and {y!r}" for key, (x, y) in found.items()]
  if first.meta["model_context"] != other.meta["model_context"]:
    differing.append("the data told their models another model_context")
  if differing:
    raise ValueError(
      f"{_name(first)} and {_name(other)} have other configs: "
      f"{'; '.join(differing)}; --may-differ lets a key pass"
    )


def _check_trees(first, other):
  """Raises ValueError with the first leaf that the two do not share."""
  one, two = (
    named_leaves({name: saved.state[name] for name in saved.weights})
    for saved in (first, other)
  )
  for name in sorted(one.keys() | two.keys()):
    found = [_describe(tree.get(name)) for tree in (one, two)]
    if found[0] != found[1]:
      raise ValueError(
        f"{name} is {found[0]} in {_name(first)} and {found[1]} in "
        f"{_name(other)}"
      )


def _describe(x):
  return "missing" if x is None else f"{x.dtype}{list(x.shape)}"


def _name(saved):
  return f"{saved.workdir} at step {saved.step}"


def _is_float(x):
  return jnp.issubdtype(x.dtype, jnp.floating)


def _wide(x):
  return x.astype(np.float32) if _is_float(x) else x
