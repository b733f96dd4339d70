"""A trained run with its kernels in fewer bits, for an export.

int8: each kernel is quantised by qwix, Google's quantisation library for JAX,
symmetrically, with a scale for every output of every layer. It is the weights
alone that are quantised: a program multiplies them by their scales as it reads
them, and products are of what the run computes in. The library's functions on
arrays are used: its pass over a running model replaces what belongs to a module
as it is multiplied, and the layers of a `Stack` are modules of one turn of a
scan, whose replaced kernels nobody keeps.

bfloat16: products are of bfloat16, as in training with that `dtype`, and the
kernels that they read are stored as they would be rounded then. The few that a
model reads in float32 whatever its `dtype` stay so.
"""

import dataclasses
import importlib
import importlib.metadata

import jax
import jax.numpy as jnp

from trajvit.export.compact import KERNELS, Int8, compact
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun, builder

LIBRARIES = {"int8": "qwix", "bfloat16": None}


def quantized(run: RestoredRun, form: str) -> RestoredRun:
  """Returns the run with compact kernels.

  Its `meta["quantization"]` says how: `name`; `library` and its `version`, None
  where there is none; `rules`, what becomes which dtype; `arrays`, how many are
  compact; and the `bytes` of all weights, `before` and `after`.

  Args:
    run: a trained model.
    form: a name in `compact.FORMS`.

  Raises:
    ValueError: an unknown form, or a model without a kernel.
    ImportError: the library is not there.
  """
  build, config = run.build, run.config
  if form == "bfloat16":
    config = dataclasses.replace(config, model=config.model | {"dtype": form})
    build = builder(config, run.meta["model_context"])
  build = compact(build, form)
  _library(form)
  init, apply = functional(build)
  likes = jax.eval_shape(init)
  arrays = sum(map(_is_compact, jax.tree.leaves(likes, is_leaf=_is_compact)))
  kinds = [kind.__name__ for kind in KERNELS]
  if not arrays:
    raise ValueError(
      f"the model {config.model['name']!r} has nothing to quantize, no kernel "
      f"of {', '.join(kinds)}"
    )
  variables = jax.tree.map(_kept, run.variables, likes)
  name = LIBRARIES[form]
  how = {
    "name": form,
    "library": name,
    "version": name and importlib.metadata.version(name),
    "rules": {**{f"{kind}.kernel": form for kind in kinds}, "*": "float32"},
    "arrays": arrays,
    "bytes": {"before": _bytes(run.variables), "after": _bytes(variables)},
  }
  return dataclasses.replace(
    run,
    config=config,
    build=build,
    apply=apply,
    variables=variables,
    meta=run.meta | {"quantization": how},
  )


def _library(form):
  """The module that quantises to a form, or None."""
  name = LIBRARIES[form]
  try:
    return name and importlib.import_module(name)
  except ImportError as error:
    raise ImportError(
      f"quantizing to {form} needs {name}: pip install 'trajvit[quantize]' "
      f"({error})"
    ) from error


def _kept(array, like):
  """The array as `like` is kept."""
  if not isinstance(like, Int8):
    return array.astype(like.dtype)
  scales = zip(like.value.shape, like.scale.shape, strict=True)
  own = [axis for axis, (size, count) in enumerate(scales) if size == count]
  made = _library("int8").quantize(array, jnp.int8, channelwise_axes=own)
  return Int8(made.qvalue, made.scale)


def _is_compact(x) -> bool:
  return isinstance(x, Int8) or getattr(x, "dtype", None) == jnp.bfloat16


def _bytes(variables) -> int:
  return sum(x.nbytes for x in jax.tree.leaves(variables))
