"""ONNX programs: for ONNX Runtime and others, weights inside.

They are converted by jax2onnx from a flat list of operations, see
`export.flat`. The batch size is symbolic. ONNX Runtime runs them on the CPU.
"""

import contextlib
import importlib
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import trajvit
from trajvit.export.flat import evaluate, flattened
from trajvit.export.targets.program import Program

TOLERANCE = 1e-4
ANY_FRAMES = False
# Dense also where a pattern lists tiles: as lists they are loops in loops.
ATTENTION = "reference"
# What jax2onnx is tested with; see docs/export.md for who has read it.
OPSET = 23
# Weights of more bytes go to a file NAME.onnx.data: protobuf ends at 2 GiB.
INSIDE = 2_000_000_000
# What the one output is called of a program that returns an array.
ARRAY = "embedding"


def write(
  directory: Path,
  programs: Mapping[str, Program],
  weights: dict,
  *,
  platforms: Sequence[str],
) -> dict:
  """Writes NAME.onnx of every program; returns signatures by name.

  The inputs of the file are named as those of the program, and its outputs by
  the keys of what the program returns; a single array is "embedding". See
  `targets` for the arguments.

  Raises:
    ImportError: jax2onnx is missing.
    ValueError: a program cannot be converted; the message names it, and the
      primitive of JAX where it is one.
  """
  del platforms  # whoever reads the file chooses
  signatures = {}
  for name, program in programs.items():
    file = f"{name}.onnx"
    outputs = _write(directory / file, name, program, weights)
    signatures[name] = {"file": file, **program.signature(outputs)}
  return signatures


def load(directory: Path, config: dict, weights: dict) -> dict[str, Callable]:
  """Returns the programs of an export by name; see `targets`.

  They ignore the weights that they are called with, and may be called under
  `jax.jit`.

  Raises:
    ImportError: onnxruntime is missing.
    ValueError: a damaged program, or one of other inputs and outputs.
  """
  del weights  # they are in the files
  return {
    name: _program(directory / signature["file"], signature)
    for name, signature in config["programs"]["onnx"].items()
  }


def usage(signatures: dict) -> str:
  """Returns Python code that runs the first program; see `targets`."""
  signature = next(iter(signatures.values()))
  names = [x["name"] for x in signature["inputs"]]
  inputs = ", ".join(f'"{name}": {name}' for name in names)
  return f"""\
# pip install onnxruntime
import onnxruntime

program = onnxruntime.InferenceSession(f"{{directory}}/{signature["file"]}")
outputs = program.run(None, {{{inputs}}})
"""


def _write(path, name, program, weights):
  """Writes one program; returns the shapes of its outputs."""
  jax2onnx, onnx_ir = _library("jax2onnx"), _library("onnx_ir")
  arguments = program.arguments()
  flat, outputs = flattened(program.call, weights, arguments)
  for eqn in flat.jaxpr.eqns:
    if any(
      jnp.issubdtype(x.aval.dtype, jax.dtypes.prng_key) for x in eqn.invars
    ):
      raise ValueError(
        f"{name} cannot be converted to ONNX: it draws numbers, by the "
        f"primitive {eqn.primitive.name!r}"
      )
  with _quiet(), _explained(name):
    model = jax2onnx.to_onnx(
      lambda *inputs: evaluate(flat, *inputs),
      inputs=arguments,
      input_names=list(program.inputs),
      output_names=_names(outputs),
      model_name=name,
      opset=OPSET,
      return_mode="ir",
    )
  model.producer_name, model.producer_version = "trajvit", trajvit.__version__
  _forget_shapes(model.graph)
  known = [x.const_value for x in model.graph.initializers.values()]
  outside = sum(x.nbytes for x in known) > INSIDE
  onnx_ir.save(
    model, path, external_data=f"{path.name}.data" if outside else None
  )
  _check(path, name)
  return outputs


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Without what jax2onnx logs of other libraries that it cannot convert."""
  logger = logging.getLogger("jax2onnx")
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
  """Makes one error of whatever goes wrong in the converter."""
  try:
    yield
  except Exception as error:  # it raises all kinds
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    primitives = (frame.f_locals.get("prim_name") for frame in frames)
    primitive = next(filter(None, primitives), "unknown")
    raise ValueError(
      f"{name} cannot be converted to ONNX: jax2onnx fails at the primitive "
      f"{primitive!r}: {str(error).partition(chr(10))[0]}"
    ) from error


def _forget_shapes(graph) -> None:
  """Leaves shapes inside to be inferred: some that jax2onnx notes are wrong."""
  kept = {id(x) for x in graph.outputs}
  for node in graph.all_nodes():
    for x in node.outputs:
      if id(x) not in kept:
        x.shape = None


def _check(path, name):
  """Raises ValueError unless the file is valid ONNX."""
  onnx = _library("onnx")
  wrong = onnx.checker.ValidationError, onnx.shape_inference.InferenceError
  try:
    onnx.checker.check_model(path, full_check=True)
  except wrong as error:
    raise ValueError(
      f"{name} cannot be converted to ONNX: jax2onnx has made an invalid file: "
      f"{error}"
    ) from error


def _names(outputs) -> list[str]:
  """The names of the leaves of an array, or of a dict of arrays."""
  # Of a signature an array is a dict as well, of its dtype and shape.
  if not isinstance(outputs, dict) or isinstance(outputs.get("dtype"), str):
    return [ARRAY]
  return sorted(outputs)  # as JAX takes a dict apart


def _program(file, signature) -> Callable:
  """A function `(weights, *inputs) -> outputs` that runs a file."""
  session = _session(file)
  names = [x["name"] for x in signature["inputs"]]
  outputs = _names(signature["outputs"])
  found = [x.name for x in (*session.get_inputs(), *session.get_outputs())]
  if found != names + outputs:
    raise ValueError(
      f"{file} should have {', '.join(names)} and {', '.join(outputs)}, "
      f"got {', '.join(found)}"
    )

  def run(*inputs):
    feeds = {k: np.asarray(x) for k, x in zip(names, inputs, strict=True)}
    try:
      arrays = session.run(None, feeds)
    except Exception as error:  # it has a class of its own for every cause
      raise ValueError(f"{file} fails in ONNX Runtime: {error}") from error
    if outputs == [ARRAY]:
      return arrays[0]
    return dict(zip(outputs, arrays, strict=True))

  def call(weights, *inputs):
    del weights
    if not any(isinstance(x, jax.core.Tracer) for x in inputs):
      return jax.tree.map(jnp.asarray, run(*inputs))
    shapes = _shapes(signature["outputs"], len(inputs[0]))
    return jax.pure_callback(run, shapes, *inputs)

  return call


def _session(file):
  """The file, ready to run."""
  onnxruntime = _library("onnxruntime")
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 4  # what goes wrong is raised
  try:
    return onnxruntime.InferenceSession(
      file, options, providers=["CPUExecutionProvider"]
    )
  except Exception as error:  # it has a class of its own for every cause
    raise ValueError(f"ONNX Runtime cannot read {file}: {error}") from error


def _shapes(outputs, batch):
  """Outputs of a signature as shapes, for so many clips."""
  if isinstance(outputs.get("dtype"), str):
    shape = (batch if n == "b" else n for n in outputs["shape"])
    return jax.ShapeDtypeStruct(tuple(shape), outputs["dtype"])
  return {name: _shapes(x, batch) for name, x in outputs.items()}


def _library(name):
  """A module that comes with the extra."""
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f"ONNX needs {name}: pip install 'trajvit[onnx]' ({error})"
    ) from error
