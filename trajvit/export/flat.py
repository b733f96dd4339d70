"""A traced function as one flat list of operations, in few primitives.

What converts programs to other formats reads JAX's own list of primitives. It
is kept simple for them: calls are written out, short loops unrolled, what is
known is computed, what nobody reads is left out, and a primitive that they lack
is written by others, see `equivalents`. None of that changes a result, but that
bfloat16 becomes float32: runtimes lack kernels for it, and all that is lost is
the rounding.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from trajvit.export.equivalents import EQUIVALENTS

# Loops of at most as many turns are unrolled, and those over layers.
UNROLLED = 16
# A known value of at most as many bytes is computed even where it is larger
# than what it is computed from.
SMALL = 4096
CALLS = {
  "jit": "jaxpr",
  "remat2": "jaxpr",
  "closed_call": "call_jaxpr",
  "custom_jvp_call": "call_jaxpr",
  "custom_vjp_call": "call_jaxpr",
}


def flattened(
  function: Callable, weights, arguments: Sequence[jax.ShapeDtypeStruct]
) -> tuple[core.ClosedJaxpr, object]:
  """Returns `function(weights, *arguments)` flat, as `(*arguments) -> leaves`.

  Args:
    function: of arrays to a tree of arrays.
    weights: a tree of NumPy arrays, which become constants.
    arguments: shapes, of which sizes may be symbolic.

  Returns:
    The function, and the shapes of what it returns, before that is a list.
  """
  closed, outputs = jax.make_jaxpr(function, return_shape=True)(
    jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), weights),
    *arguments,
  )
  known = [_as_float32(x) for x in jax.tree.leaves(weights)]
  flat = jax.make_jaxpr(lambda *inputs: evaluate(closed, *known, *inputs))
  dtypes = jax.tree.map(lambda x: _without_bfloat16(x.dtype), outputs)
  return flat(*arguments), jax.tree.map(
    lambda x, dtype: jax.ShapeDtypeStruct(x.shape, dtype), outputs, dtypes
  )


def evaluate(closed: core.ClosedJaxpr, *inputs) -> list:
  """Returns the outputs of a traced function, written flat if it is traced.

  Args:
    closed: the function.
    *inputs: arrays; those of NumPy are known, those being traced are not.
  """
  return _run(closed.jaxpr, closed.consts, inputs)


def _run(jaxpr, consts, inputs):
  values = dict(
    zip(
      (*jaxpr.constvars, *jaxpr.invars),
      (*map(_as_float32, consts), *inputs),
      strict=True,
    )
  )

  def read(atom):
    if isinstance(atom, core.Literal):
      return _as_float32(np.asarray(atom.val, atom.aval.dtype))
    return values[atom]

  for eqn in _read_by_someone(jaxpr):
    outputs = _apply(eqn, [read(atom) for atom in eqn.invars])
    values.update(zip(eqn.outvars, outputs, strict=True))
  return [read(atom) for atom in jaxpr.outvars]


def _read_by_someone(jaxpr):
  """The equations that an output depends on, in their order."""
  read, kept = set(map(id, jaxpr.outvars)), []
  for eqn in reversed(jaxpr.eqns):
    if any(id(v) in read for v in eqn.outvars):
      read.update(map(id, eqn.invars))
      kept.append(eqn)
  return kept[::-1]


def _apply(eqn, inputs) -> list:
  """The outputs of one equation."""
  name, params = eqn.primitive.name, eqn.params
  if name in CALLS:
    called = params[CALLS[name]]
    if isinstance(called, core.ClosedJaxpr):
      return evaluate(called, *inputs)
    return _run(called, (), inputs)
  if name in LOOPS:
    return LOOPS[name](inputs, **params)
  params = {k: _without_bfloat16(x) for k, x in params.items()}
  if _is_known(eqn, inputs):
    with jax.ensure_compile_time_eval():
      outputs = eqn.primitive.bind(*inputs, **params)
  elif name in EQUIVALENTS:
    outputs = EQUIVALENTS[name](*inputs, **params)
  else:
    outputs = eqn.primitive.bind(*inputs, **params)
  return outputs if eqn.primitive.multiple_results else [outputs]


def _is_known(eqn, inputs) -> bool:
  """Whether to compute now: all is known, and no file grows by much."""
  sizes = [n for v in eqn.outvars for n in v.aval.shape]
  if eqn.primitive.name == "dim_as_value" or any(map(_is_traced, inputs)):
    return False
  if not all(isinstance(n, int) for n in sizes):
    return False
  return _bytes(v.aval for v in eqn.outvars) <= max(SMALL, _bytes(inputs))


def _bytes(arrays) -> int:
  return sum(x.size * x.dtype.itemsize for x in arrays)


def _is_traced(x) -> bool:
  return isinstance(x, jax.core.Tracer)


def _as_float32(x):
  """An array, as float32 if it is known and bfloat16."""
  if _is_traced(x) or x.dtype != jnp.bfloat16:
    return x
  return np.asarray(x, np.float32)


def _without_bfloat16(parameter):
  """A parameter of a primitive, float32 where it names bfloat16."""
  if isinstance(parameter, np.dtype) and parameter == jnp.bfloat16:
    return np.dtype(np.float32)
  return parameter


def _scan(inputs, *, jaxpr, length, reverse, num_consts, num_carry, **_):
  """A loop over rows of arrays, unrolled if it is short."""
  consts, inputs = inputs[:num_consts], inputs[num_consts:]
  carry, rows = inputs[:num_carry], inputs[num_carry:]

  def turn(carry, row):
    outputs = evaluate(jaxpr, *consts, *carry, *row)
    return outputs[:num_carry], outputs[num_carry:]

  layers = any(not _is_traced(x) and x.ndim > 1 for x in rows)
  # The number of turns may be that of the clips, which nobody knows.
  if not isinstance(length, int) or (length > UNROLLED and not layers):
    carry, rows = jax.lax.scan(turn, carry, rows, length, reverse)
    return [*carry, *rows]
  found = []
  for number in range(length)[::-1] if reverse else range(length):
    carry, row = turn(carry, [_row(x, number) for x in rows])
    found.append(row)
  columns = zip(*(found[::-1] if reverse else found), strict=True)
  return [*carry, *(EQUIVALENTS["stack"](*x, axis=0) for x in columns)]


def _row(x, number):
  if _is_traced(x):
    return jax.lax.index_in_dim(x, number, keepdims=False)
  return np.asarray(x)[number]


def _while(inputs, *, cond_jaxpr, cond_nconsts, body_jaxpr, body_nconsts):
  asked, inputs = inputs[:cond_nconsts], inputs[cond_nconsts:]
  used, start = inputs[:body_nconsts], inputs[body_nconsts:]

  def going(state):
    return evaluate(cond_jaxpr, *asked, *state)[0]

  def turn(state):
    # Of several loops side by side, those that have ended stay as they are.
    found, more = evaluate(body_jaxpr, *used, *state), going(state)
    if not more.shape:
      return found
    return [
      jnp.where(jnp.expand_dims(more, range(more.ndim, x.ndim)), new, x)
      for new, x in zip(found, state, strict=True)
    ]

  return jax.lax.while_loop(lambda state: going(state).any(), turn, start)


def _cond(inputs, *, branches, **_):
  number, *inputs = inputs
  if not _is_traced(number):
    return evaluate(branches[int(number)], *inputs)
  calls = [functools.partial(evaluate, branch) for branch in branches]
  return jax.lax.switch(number, calls, *inputs)


LOOPS = {"scan": _scan, "while": _while, "cond": _cond}
