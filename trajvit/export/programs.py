"""The programs of an export: methods of a model as portable StableHLO.

Weights are arguments, never constants: a program stays small, and all share
one weights file. The batch size is symbolic.
"""

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx

from trajvit.ops.attention import use_implementation
from trajvit.training.functional import path_name
from trajvit.types import Clip, Text

PLATFORMS = ("cpu", "cuda", "tpu")


@dataclasses.dataclass(frozen=True)
class Program:
  """One method of a model as a function of arrays.

  Attributes:
    method: `method(model, *inputs)` returns an array or a dict of arrays.
    inputs: name -> (dtype, shape without the batch axis).
  """

  method: Callable
  inputs: dict[str, tuple]


def model_programs(
  model: nnx.Module, preprocessing: dict
) -> dict[str, Program]:
  """Returns what to export of a model, by name: what it has a method for.

  `encode_video(clip)` returns an array or a dict of arrays, `tokenize(clip)`
  Tokens, and `encode_text(text)` an array, which is exported if the
  preprocessing has text; see `models.video_text` and `models.connector`.

  Args:
    model: its class decides; what its arrays hold is not read.
    preprocessing: of the export.

  Raises:
    ValueError: it has none of them.
  """
  frames, size = preprocessing["frames"], preprocessing["size"]
  inputs = {"frames": (jnp.uint8, (frames, size, size, 3))}
  if preprocessing["tracks"] is not None:
    grid = preprocessing["tracks"]["grid"]
    inputs["tracks"] = (jnp.int32, (frames, grid, grid))
  programs = {}
  if hasattr(model, "encode_video"):
    programs["encode"] = Program(_encode, inputs)
  if hasattr(model, "tokenize"):
    programs["tokenize"] = Program(_tokenize, inputs)
  if preprocessing["text"] is not None:
    shape = (preprocessing["text"]["length"],)
    inputs = {"ids": (jnp.int32, shape), "mask": (jnp.bool_, shape)}
    programs["encode_text"] = Program(_encode_text, inputs)
  if not programs:
    raise ValueError(
      "an export needs a model with encode_video, tokenize or encode_text, "
      f"got {type(model).__name__}"
    )
  return programs


def export_program(
  program: Program,
  model: nnx.Module,
  weights: dict,
  platforms: Sequence[str] = PLATFORMS,
) -> jax.export.Exported:
  """Returns a program that is called as `program(weights, *inputs)`.

  Args:
    program: to export.
    model: its structure; what its arrays hold is not read.
    weights: name -> array or shape, as `flat_weights` names them.
    platforms: to lower for.
  """
  call = jax.jit(on_weights(program, model, implementation="portable"))
  (batch,) = jax.export.symbolic_shape("b")
  return jax.export.export(call, platforms=platforms)(
    {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()},
    *(
      jax.ShapeDtypeStruct((batch, *shape), dtype)
      for dtype, shape in program.inputs.values()
    ),
  )


def on_weights(
  program: Program, model: nnx.Module, implementation: str = "auto"
) -> Callable:
  """Returns a program as a function `(weights, *inputs) -> outputs`.

  Args:
    program: a method of the model.
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
      return program.method(model, *inputs)

  return call


def signature(program: Program, exported: jax.export.Exported) -> dict:
  """Returns inputs, outputs and platforms as plain values."""
  _, *inputs = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
  outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
  return {
    "inputs": [
      {"name": name, **_kind(x)}
      for name, x in zip(program.inputs, inputs, strict=True)
    ],
    "outputs": jax.tree.map(_kind, outputs),
    "platforms": list(exported.platforms),
  }


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


def _kind(x):
  """An array as {"dtype", "shape"}, with "b" for the size of the batch."""
  shape = [n if isinstance(n, int) else str(n) for n in x.shape]
  return {"dtype": str(x.dtype), "shape": shape}
