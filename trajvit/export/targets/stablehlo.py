"""StableHLO programs: for jax on any device, weights from the one file.

Weights are arguments, never constants: a program stays small, and all share
one weights file. The batch size is symbolic, and the number of frames where
the model takes any.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.export

from trajvit.export.safetensors import check_arrays
from trajvit.export.targets.program import Program

TOLERANCE = 1e-5
ANY_FRAMES = True
ATTENTION = "portable"


def write(
  directory: Path,
  programs: Mapping[str, Program],
  weights: dict,
  *,
  platforms: Sequence[str],
) -> dict:
  """Writes NAME.stablehlo of every program; returns signatures by name.

  A signature has also `platforms`, what the program was lowered for. See
  `targets` for the arguments.
  """
  signatures = {}
  for name, program in programs.items():
    exported = export_program(program, weights, platforms)
    file = f"{name}.stablehlo"
    (directory / file).write_bytes(exported.serialize())
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    signatures[name] = {
      "file": file,
      **program.signature(outputs),
      "platforms": list(exported.platforms),
    }
  return signatures


def load(directory: Path, config: dict, weights: dict) -> dict[str, Callable]:
  """Returns the programs of an export by name; see `targets`.

  Raises:
    ValueError: a program from a newer jax, a damaged one, or one of other
      weights.
  """
  programs = {}
  for name, signature in config["programs"]["stablehlo"].items():
    file = directory / signature["file"]
    program = _read_program(file, config["versions"]["jax"])
    (expected, *_), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
    check_arrays(weights, expected, file)
    programs[name] = jax.jit(program.call)
  return programs


def usage(signatures: dict) -> str:
  """Returns Python code that runs the first program; see `targets`."""
  signature = next(iter(signatures.values()))
  inputs = ", ".join(x["name"] for x in signature["inputs"])
  return f"""\
# pip install jax flatbuffers
import json

import jax.export
import jax.numpy as jnp
import numpy as np

with open(f"{{directory}}/model.safetensors", "rb") as file:
  length = int.from_bytes(file.read(8), "little")
  header, data = json.loads(file.read(length)), file.read()
dtypes = dict(F32=jnp.float32, BF16=jnp.bfloat16, I8=jnp.int8, I32=jnp.int32)
weights = {{}}
for name, array in header.items():
  if name != "__metadata__":
    values = data[slice(*array["data_offsets"])]
    values = np.frombuffer(values, dtypes[array["dtype"]])
    weights[name] = values.reshape(array["shape"])
with open(f"{{directory}}/{signature["file"]}", "rb") as file:
  program = jax.export.deserialize(bytearray(file.read()))
outputs = jax.jit(program.call)(weights, {inputs})
"""


def export_program(
  program: Program, weights: dict, platforms: Sequence[str]
) -> jax.export.Exported:
  """Returns a program that is called as `program(weights, *inputs)`.

  Args:
    program: to export.
    weights: name -> array or shape.
    platforms: to lower for.
  """
  return jax.export.export(jax.jit(program.call), platforms=platforms)(
    {k: jax.ShapeDtypeStruct(v.shape, v.dtype) for k, v in weights.items()},
    *program.arguments(),
  )


def _read_program(file, version):
  """The program in `file`, which jax `version` wrote."""
  try:
    program = jax.export.deserialize(bytearray(file.read_bytes()))
    # Parses the program, which otherwise happens at the first call only.
    program.mlir_module()
  except (struct.error, ValueError, jax.errors.JaxRuntimeError) as error:
    raise ValueError(
      f"{file} cannot be read by jax {jax.__version__}: it was written by jax "
      f"{version}, and may need that or a newer one, or be damaged"
    ) from error
  return program
