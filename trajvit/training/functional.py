"""A model as a pure function of nested dicts of arrays.

A Flax NNX module is split once, here. What comes after is plain JAX on
`variables`, {"params": ..., "batch_stats": ...}: nested dicts without any NNX
type in them, so that a path reads `encoder/blocks/layers/mlp/up/kernel`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.types import Batch


def functional(build: Callable[[], nnx.Module]) -> tuple[Callable, Callable]:
  """Returns the pure functions of a model.

  Args:
    build: returns a new model. Every array of it is an `nnx.Param` or an
      `nnx.BatchStat`. It is traced, never run as it stands.

  Returns:
    init: `init() -> variables`, all initial values by one compiled program,
      which the compilation cache can keep.
    apply: `apply(variables, batch, key=None) -> outputs`.

  Raises:
    ValueError: the model has an array of another kind.
  """
  structure = []

  def init() -> dict:
    graphdef, params, stats = nnx.split(build(), nnx.Param, nnx.BatchStat)
    structure[:] = [graphdef]
    variables = {
      "params": nnx.to_pure_dict(params),
      "batch_stats": nnx.to_pure_dict(stats),
    }
    # An array made from a Python number has a weak type, which the first update
    # would change: the step would be compiled twice.
    return jax.tree.map(lambda x: jnp.asarray(x, x.dtype), variables)

  jax.eval_shape(init)
  (graphdef,) = structure

  def apply(variables: dict, batch: Batch, key: jax.Array | None = None):
    model = nnx.merge(graphdef, variables["params"], variables["batch_stats"])
    return model(batch, key=key)

  return jax.jit(init), apply


def named_leaves(tree) -> dict:
  """Returns {path: leaf}, such as {"encoder/norm/scale": ...}."""
  found = jax.tree_util.tree_leaves_with_path(tree)
  return {path_name(path): leaf for path, leaf in found}


def path_name(path: tuple) -> str:
  """Returns a path of `jax.tree_util` as `encoder/blocks/0/kernel`."""
  return jax.tree_util.keystr(path, simple=True, separator="/")
