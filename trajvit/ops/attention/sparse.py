"""Block-sparse attention: one differentiable function over several backends.

A backend is two functions, forward and backward, on arrays that are padded to
whole blocks, head-major, with zeros in every padding token. All that is common
to backends is here: layout, padding, the residuals, the gradients' rule.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from trajvit.ops.attention import pallas_gpu, pallas_tpu, xla
from trajvit.ops.attention.block_mask import BlockMask


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Attended:
  """What attention can return.

  Attributes:
    out: [B, Nq, K, d] in the dtype of the queries.
    logsumexp: [B, Nq, K] float32, of a query's logits; -inf without keys. It
      has a gradient, so that two passes over disjoint keys can be merged. None
      from `cudnn` and `splash`.
    tile_max: [B, K, nq, nk] float32, the largest attention weight in a tile, 0
      in one that is not visited, without gradient; None unless asked for.
    kept: [B, K, nq, nk] bool, tiles not skipped by `skip_below`; None without.
  """

  out: jax.Array
  logsumexp: jax.Array | None
  tile_max: jax.Array | None = None
  kept: jax.Array | None = None


@dataclasses.dataclass(frozen=True)
class Options:
  """What does not change with the data.

  Attributes:
    scale: of the logits.
    tile_max: whether to return it.
    skip_below: lambda of BLASST, see `attend`; None skips nothing.
    interpret: run Pallas kernels in its interpreter, on any platform.
  """

  scale: float
  tile_max: bool = False
  skip_below: float | None = None
  interpret: bool = False


@dataclasses.dataclass(frozen=True)
class Backend:
  """How one platform walks the lists.

  Shapes: query, out [B, K, Sq, d]; key, value [B, K, Sk, d]; bias [B, Sk]
  float32 or None; logsumexp, delta [B, K, Sq] float32.

  Attributes:
    forward: `(query, key, value, bias, blocks, options) -> (out, logsumexp,
      tile_max or None, kept or None)`. A query without keys has out 0 and
      logsumexp +inf: then exp(logit - logsumexp) is 0 in the backward pass.
    backward: `(query, key, value, bias, blocks, logsumexp, delta, out_grad,
      options) -> (query_grad, key_grad, value_grad, bias_grad)`; `bias_grad` is
      [B, Sk] float32, or None where bias is. With p the attention weights, the
      gradient of a logit is p * (out_grad . value - delta).
    check: `(query, blocks, options)` raises NotImplementedError, with the
      reason, for what the backend cannot do.
  """

  forward: Callable
  backward: Callable
  check: Callable


BACKENDS = {
  "xla": Backend(xla.forward, xla.backward, xla.check),
  "pallas_tpu": Backend(
    pallas_tpu.forward, pallas_tpu.backward, pallas_tpu.check
  ),
  "pallas_gpu": Backend(
    pallas_gpu.forward, pallas_gpu.backward, pallas_gpu.check
  ),
}
# Which backend "auto" takes on which platform; "xla" elsewhere.
PLATFORMS = {"tpu": "pallas_tpu", "cuda": "pallas_gpu"}


def sparse_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  blocks: BlockMask,
  bias: jax.Array | None,
  *,
  options: Options,
  backend: str,
) -> Attended:
  """Attends over the tiles of `blocks`; see `attend` for the arguments.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    blocks: the tiles.
    bias: [B, Nk] float32 or None.
    options: what is asked for.
    backend: a name in BACKENDS, or "auto".

  Raises:
    NotImplementedError: the backend cannot do this.
  """
  query, key, value, bias = operands(query, key, value, bias, blocks)
  names = able(backend, query, blocks, options)
  run = _attend(query, key, value, bias, blocks, options, names)
  out, logsumexp, tile_max, kept = run
  length = blocks.query_length
  return Attended(
    out=out.swapaxes(1, 2)[:, :length],
    logsumexp=logsumexp.swapaxes(1, 2)[:, :length],
    tile_max=tile_max,
    kept=kept,
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _attend(query, key, value, bias, blocks, options, names):
  return _forward(query, key, value, bias, blocks, options, names)[0]


def _forward(query, key, value, bias, blocks, options, names):
  out, logsumexp, tile_max, kept = dispatch(
    "forward", names, options, query, key, value, bias, blocks
  )
  # Saving these two by name spares a rematerialised layer the forward kernel.
  out = checkpoint_name(out, "attention_out")
  logsumexp = checkpoint_name(logsumexp, "attention_logsumexp")
  if kept is not None:
    blocks = blocks.keep(kept)
  residuals = query, key, value, bias, blocks, out, logsumexp
  public = jnp.where(jnp.isposinf(logsumexp), -jnp.inf, logsumexp)
  return (out, public, tile_max, kept), residuals


def _backward(options, names, residuals, gradients):
  query, key, value, bias, blocks, out, logsumexp = residuals
  delta, out_grad = row_gradients(blocks, out, logsumexp, *gradients[:2])
  return *dispatch(
    "backward",
    names,
    options,
    query,
    key,
    value,
    bias,
    blocks,
    logsumexp,
    delta,
    out_grad,
  ), None


_attend.defvjp(_forward, _backward)


def operands(query, key, value, bias, blocks: BlockMask) -> tuple:
  """Returns what backends take of [B, N, K, d] arrays and the bias [B, Nk]."""
  query = _head_major(query, blocks.query)
  key, value = (_head_major(x, blocks.key) for x in (key, value))
  if bias is not None:
    missing = key.shape[2] - bias.shape[1]
    bias = jnp.pad(bias.astype(jnp.float32), [(0, 0), (0, missing)])
    bias = jnp.where(blocks.key.valid(), bias, 0)
  return query, key, value, bias


def row_gradients(blocks, out, logsumexp, out_grad, logsumexp_grad) -> tuple:
  """Returns `delta` and `out_grad` of `Backend.backward` from the cotangents.

  A padding query has no gradient, whatever the caller makes of its output.
  """
  real = blocks.query.valid()[:, None, :]
  out_grad = jnp.where(real[..., None], out_grad, 0).astype(out.dtype)
  delta = (out.astype(jnp.float32) * out_grad.astype(jnp.float32)).sum(-1)
  delta -= jnp.where(jnp.isfinite(logsumexp), logsumexp_grad, 0)
  return delta, out_grad


def able(backend: str, query, blocks: BlockMask, options: Options) -> tuple:
  """Returns the names of the backends that `dispatch` is to choose from.

  Raises:
    NotImplementedError: the backend cannot do this.
  """
  if backend != "auto":
    BACKENDS[backend].check(query, blocks, options)
    return (backend,)
  names = ["xla", *PLATFORMS.values()]
  return tuple(name for name in names if _able(name, query, blocks, options))


def dispatch(step, names, options, *arrays):
  """Runs one backend, or the one of the platform the program is lowered for."""

  def branch(name):
    return lambda *arrays: getattr(BACKENDS[name], step)(*arrays, options)

  if len(names) == 1:
    return branch(names[0])(*arrays)
  branches = {
    platform: branch(name)
    for platform, name in PLATFORMS.items()
    if name in names
  }
  return jax.lax.platform_dependent(
    *arrays, **branches, default=branch(names[0])
  )


def _able(name, query, blocks, options) -> bool:
  try:
    BACKENDS[name].check(query, blocks, options)
  except NotImplementedError:
    return False
  return True


def _head_major(x, coordinates):
  """[B, N, K, d] to [B, K, S, d], zeros in padding: a NaN there would reach
  real tokens through 0 * NaN."""
  missing = coordinates.segment.shape[-1] - x.shape[1]
  x = jnp.pad(x, [(0, 0), (0, missing), (0, 0), (0, 0)])
  real = coordinates.valid()[:, :, None, None]
  return jnp.where(real, x, 0).swapaxes(1, 2)
