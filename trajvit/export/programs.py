"""The methods of a model as functions of weights and arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.export.targets.program import Program
from trajvit.ops.attention import use_implementation
from trajvit.training.functional import path_name
from trajvit.types import Clip, Text


def model_programs(
  model: nnx.Module, preprocessing: dict, implementation: str = "auto"
) -> dict[str, Program]:
  """Returns what to export of a model, by name: what it has a method for.

  `encode_video(clip)` returns an array or a dict of arrays, `tokenize(clip)`
  Tokens, and `encode_text(text)` an array, which is exported if the
  preprocessing has text; see `models.video_text` and `models.connector`.

  Args:
    model: its class decides; what its arrays hold is not read.
    preprocessing: of the export.
    implementation: of attention, see `ops.attention.use_implementation`.

  Raises:
    ValueError: it has none of them.
  """
  frames, size = preprocessing["frames"], preprocessing["size"]
  inputs = {"frames": (jnp.uint8, (frames, size, size, 3))}
  if preprocessing["tracks"] is not None:
    grid = preprocessing["tracks"]["grid"]
    inputs["tracks"] = (jnp.int32, (frames, grid, grid))
  methods = {}
  if hasattr(model, "encode_video"):
    methods["encode"] = (_encode, inputs)
  if hasattr(model, "tokenize"):
    methods["tokenize"] = (_tokenize, inputs)
  if preprocessing["text"] is not None:
    shape = (preprocessing["text"]["length"],)
    inputs = {"ids": (jnp.int32, shape), "mask": (jnp.bool_, shape)}
    methods["encode_text"] = (_encode_text, inputs)
  if not methods:
    raise ValueError(
      "an export needs a model with encode_video, tokenize or encode_text, "
      f"got {type(model).__name__}"
    )
  return {
    name: Program(on_weights(method, model, implementation), inputs)
    for name, (method, inputs) in methods.items()
  }


def on_weights(
  method: Callable, model: nnx.Module, implementation: str = "auto"
) -> Callable:
  """Returns a method as a function `(weights, *inputs) -> outputs`.

  Args:
    method: `method(model, *inputs)` returns an array or a dict of arrays.
    model: its structure; what its arrays hold is not read.
    implementation: of attention, see `ops.attention.use_implementation`.
  """
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  names = jax.tree_util.tree_map_with_path(
    lambda path, _: path_name(path),
    {
      "params": nnx.to_pure_dict(params),
      "batch_stats": nnx.to_pure_dict(stats),
    },
  )

  def call(weights, *inputs):
    found = jax.tree.map(weights.__getitem__, names)
    model = nnx.merge(graphdef, found["params"], found["batch_stats"])
    with use_implementation(implementation):
      return method(model, *inputs)

  return call


def flat_weights(variables: dict) -> dict:
  """Returns the arrays of {"params", "batch_stats"} by path, "params/a/b"."""
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  return {path_name(path): leaf for path, leaf in leaves}


def _encode(model, frames, tracks=None):
  return model.encode_video(Clip(frames, tracks=tracks))


def _tokenize(model, frames, tracks=None):
  tokens = model.tokenize(Clip(frames, tracks=tracks))
  return {
    "features": tokens.features,
    "mask": tokens.mask,
    "positions": tokens.positions,
    "size": tokens.size,
  }


def _encode_text(model, ids, mask):
  return model.encode_text(Text(ids, mask))
