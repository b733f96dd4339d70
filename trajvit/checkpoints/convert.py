"""The weights of a checkpoint alone, in another dtype, or as averaged."""

import copy

import jax
import jax.numpy as jnp

from trajvit.checkpoints.saved import Saved

DTYPES = ("float32", "bfloat16")


def convert(
  saved: Saved, *, dtype: str | None = None, ema: bool = False
) -> tuple[dict, dict]:
  """Returns (weights, config) of a run that has the weights in another form.

  Args:
    saved: the checkpoint.
    dtype: one of DTYPES, for the parameters and their moving average; running
      statistics stay as they are. Models compute with what is read in float32:
      bfloat16 halves the files and rounds to 8 bits of mantissa. None = as it
      is.
    ema: the moving average becomes the parameters, and the config keeps none.

  Returns:
    {"params", "ema", "batch_stats"}, those that there are, nested arrays; and
    the config to write beside them.

  Raises:
    ValueError: another dtype, or `ema` of a run that keeps none.
  """
  if dtype not in (None, *DTYPES):
    raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype}")
  config = copy.deepcopy(saved.config)
  parts = saved.weights
  if ema:
    if "ema" not in parts:
      raise ValueError(
        f"{saved.workdir} keeps no moving average of its weights"
      )
    parts = tuple(name for name in parts if name != "params")
    config["optimizer"]["ema_decay"] = 0.0
  weights = saved.read(parts)
  if ema:
    weights["params"] = weights.pop("ema")

  def cast(x):
    return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

  if dtype:
    for name in weights.keys() & {"params", "ema"}:
      weights[name] = jax.tree.map(cast, weights[name])
  return weights, config
