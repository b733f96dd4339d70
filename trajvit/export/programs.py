"""The methods of a model as functions of weights and arrays."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.export.frames import symbolic_frames
from trajvit.export.targets.program import Program
from trajvit.ops.attention import use_implementation
from trajvit.training.functional import path_name
from trajvit.types import Clip, Text

# What a model raises that needs to know how many frames there are.
UNTRACEABLE = (
  ValueError,
  TypeError,  # the base of JAX's errors on traced values
  jax.errors.InconclusiveDimensionOperation,
)


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
  frames, size = symbolic_frames(preprocessing), preprocessing["size"]
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


def any_frames(model: nnx.Module, preprocessing: dict) -> dict:
  """Returns which numbers of frames a model takes, as `export.frames` has it.

  It is found out and not declared: the programs are traced for p t frames, of
  which t is unknown, with the least p that goes, of those that divide the run's
  number. What is learned for each frame, or counts in a grid of fixed length,
  cannot be traced so, and its error is the reason that is given.

  Args:
    model: its structure; what its arrays hold is not read.
    preprocessing: of the export, but for `any_frames`.
  """
  for step in range(1, preprocessing["frames"] + 1):
    if preprocessing["frames"] % step == 0:
      rule = {"multiple_of": step}
      reason = _untraceable(model, preprocessing | {"any_frames": rule})
      if reason is None:
        return rule
  return {"refused": reason}


def _untraceable(model, preprocessing) -> str | None:
  """Why the programs that read frames cannot be traced, None if they can."""
  _, variables = _split(model)
  programs = model_programs(model, preprocessing, "portable").values()
  readers = [program for program in programs if "frames" in program.inputs]
  if not readers:
    return "it reads no frames"
  try:
    for program in readers:
      jax.eval_shape(
        program.call, flat_weights(variables), *program.arguments()
      )
  except UNTRACEABLE as error:
    return str(error).partition("\n")[0]
  return None


def on_weights(
  method: Callable, model: nnx.Module, implementation: str = "auto"
) -> Callable:
  """Returns a method as a function `(weights, *inputs) -> outputs`.

  Args:
    method: `method(model, *inputs)` returns an array or a dict of arrays.
    model: its structure; what its arrays hold is not read.
    implementation: of attention, see `ops.attention.use_implementation`.
  """
  graphdef, variables = _split(model)
  names = jax.tree_util.tree_map_with_path(
    lambda path, _: path_name(path), variables
  )

  def call(weights, *inputs):
    found = jax.tree.map(weights.__getitem__, names)
    model = nnx.merge(graphdef, found["params"], found["batch_stats"])
    with use_implementation(implementation):
      return method(model, *inputs)

  return call


def _split(model):
  """The structure of a model, and its {"params", "batch_stats"}."""
  graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
  return graphdef, {
    "params": nnx.to_pure_dict(params),
    "batch_stats": nnx.to_pure_dict(stats),
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
