"""What the attention of an encoder tells, put together over its stages."""

import jax
import jax.numpy as jnp


def split_statistics(stages: list[dict]) -> tuple[list[dict], dict]:
  """Returns what the stages tell, and their new running statistics.

  Args:
    stages: the aux of each stage's stack, arrays with a leading axis of layers.

  Returns:
    The stages without `batch_stats`; and these by the number of the stage, {}
    where there are none.
  """
  told = [dict(stage) for stage in stages]
  stats = {
    number: stage.pop("batch_stats")
    for number, stage in enumerate(told)
    if "batch_stats" in stage
  }
  return told, stats


def layer_means(stages: list[dict]) -> dict[str, jax.Array]:
  """Returns `attention/<name>` for every scalar that layers tell: their mean.

  Args:
    stages: from `split_statistics`; a scalar is an array of shape [layers].
  """
  names = {name for stage in stages for name, x in stage.items() if x.ndim == 1}

  def mean(name):
    layers = [stage[name] for stage in stages]
    return jnp.concatenate(layers).mean(dtype=jnp.float32)

  return {f"attention/{name}": mean(name) for name in sorted(names)}
