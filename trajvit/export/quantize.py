"""A trained run with its kernels in fewer bits, for an export.

int8: each kernel is quantised by qwix, Google's quantisation library for JAX,
symmetrically, with a scale for every output of every layer. Products are as
before, of float32 or of what the run computes in: it is the weights alone that
are quantised, and a program multiplies them by their scales as it reads them.
The library's own pass over a model is not used: it replaces what it sees a
module multiply, and of kernels that a scan hands to its layers it sees nothing.

bfloat16: each kernel is rounded, and products are of bfloat16, as in training
with that `dtype`. Storing what is rounded anyway loses nothing further.
"""

import dataclasses
import importlib.metadata

import jax
import jax.numpy as jnp

from trajvit.export.compact import FORMS, KERNELS, Int8, compact
from trajvit.models import build_model
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun

LIBRARIES = {"int8": "qwix"}


def quantized(run: RestoredRun, form: str) -> RestoredRun:
  """Returns the run with compact kernels.

  `meta["quantization"]` says how: `name`, `library` and its `version` (None for
  bfloat16, which needs none), `rules`, the number of `arrays`, and the `bytes`
  of all weights `before` and `after`.

  Args:
    run: a trained model.
    form: a name in `compact.FORMS`.

  Raises:
    ValueError: an unknown form, or a model that has no kernel.
    ImportError: the library is not there.
  """
  if form == "bfloat16":
    run = _computing_in(run, form)
  build = compact(run.build, form)
  init, apply = functional(build)
  quantize = _quantizer() if form == "int8" else None
  likes = jax.eval_shape(init)
  counts = []

  def keep(array, like):
    if isinstance(like, Int8):
      counts.append(1)
      return quantize(array, like)
    counts.append(int(array.dtype != like.dtype))
    return array.astype(like.dtype)

  variables = jax.tree.map(keep, run.variables, likes)
  if not sum(counts):
    raise ValueError(
      f"the model {run.config.model['name']!r} has nothing to quantize to "
      f"{form}"
    )
  library = LIBRARIES.get(form)
  how = {
    "name": form,
    "library": library,
    "version": library and importlib.metadata.version(library),
    "rules": _rules(form),
    "arrays": sum(counts),
    "bytes": {"before": _bytes(run.variables), "after": _bytes(variables)},
  }
  return dataclasses.replace(
    run,
    build=build,
    apply=apply,
    variables=variables,
    meta=run.meta | {"quantization": how},
  )
