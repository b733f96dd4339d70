"""Ring attention: tokens shared out over devices, keys and values passed on.

Every device holds the queries, keys and values of its own tokens. At each step
it attends to the keys at hand, over those tiles of its queries that lie there,
merges the result with what it has by logsumexp, and hands the keys on to its
neighbour; where none of its tiles lies there, nothing is computed. The backward
pass goes around once more: the gradients of keys and values travel with them.
No device ever holds the keys of another for longer than a step.

Source: Ring Attention with Blockwise Transformers (arXiv:2310.01889), over
lists of tiles as MTraining (arXiv:2510.18830), with one ring where that has
rings within rings. Which tokens a device should hold for all to have equal work
is in `assignment`.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import PartitionSpec

from trajvit.compat import vary
from trajvit.mesh import SEQUENCE_AXIS, mesh_sizes
from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.devices.sharded import Layout
from trajvit.ops.attention.merge import merge
from trajvit.ops.attention.sparse import (
  Attended,
  Options,
  able,
  dispatch,
  operands,
  row_gradients,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Keys:
  """What travels around the ring.

  Attributes:
    key: [B, K, S, d].
    value: [B, K, S, d].
    bias: [B, S] float32 or None.
    places: [fields of Coordinates, B or 1, S] int32: in one piece.
  """

  key: jax.Array
  value: jax.Array
  bias: jax.Array | None
  places: jax.Array


def in_ring(blocks: BlockMask) -> bool:
  """Returns whether a call under the mesh in JAX's context can be a ring.

  It can if the mesh has an axis `context`, and tokens are whole blocks, equally
  many on each device along it. Otherwise each of these devices does the same.
  """
  devices = (mesh_sizes() or {}).get(SEQUENCE_AXIS, 1)
  return devices > 1 and _divides(blocks, devices)


def ring_attention(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  blocks: BlockMask,
  bias: jax.Array | None,
  *,
  options: Options,
  backend: str,
) -> Attended:
  """Attends over the tiles of `blocks`, tokens cut along the axis `context`.

  The mesh is the one in JAX's context; clips and heads are cut along its other
  axes, as `over_mesh` does. The first devices have the first tokens, in the
  order that the caller stores them. A device holds, beside its share of the
  tokens, three tables with an entry for each pair of a query block of its own
  and a key block.

  Args:
    query: [B, Nq, K, d].
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    blocks: the tiles; Nq and Nk are equally many whole blocks on each device.
      Padding tokens have segment -1.
    bias: [B, Nk] float32 or None.
    options: what is asked for, statistics of tiles excepted.
    backend: a name in BACKENDS, or "auto".

  Raises:
    ValueError: no axis `context` in the mesh, or blocks that it does not
      divide.
    NotImplementedError: statistics of tiles, or what the backend cannot do.
  """
  sizes = mesh_sizes() or {}
  devices = sizes.get(SEQUENCE_AXIS, 1)
  if devices == 1:
    raise ValueError(
      f"a ring needs a mesh with an axis {SEQUENCE_AXIS!r} of two devices or "
      f"more in JAX's context, got {sizes}"
    )
  if not _divides(blocks, devices):
    raise ValueError(
      f"{blocks.query_length} queries and {blocks.key_length} keys must be "
      f"whole blocks of {blocks.block_query} and {blocks.block_key}, equally "
      f"many on each of {devices} devices; pad them"
    )
  if options.tile_max or options.skip_below is not None:
    raise NotImplementedError("a ring returns no statistics of tiles")
  layout = Layout.of(sizes, query.shape, sequence=(SEQUENCE_AXIS,))
  blocks = layout.with_lists(blocks)
  spec = layout.mask(blocks)

  def local(query, key, value, bias, classes, query_places, key_places):
    own = _by_owner(blocks, classes, query_places, key_places, devices)
    query, key, value, bias = operands(query, key, value, bias, own)
    keys = Keys(key, value, bias, jnp.stack(jax.tree.leaves(key_places)))
    query, keys, own = vary((query, keys, own), layout.axes)
    names = able(backend, query, _meeting(own, keys, 0), options)
    run = _attend(query, keys, own, devices, options, names)
    return Attended(*(x.swapaxes(1, 2) for x in run))

  return jax.shard_map(
    local,
    in_specs=(
      layout.tokens,
      layout.tokens,
      layout.tokens,
      PartitionSpec(layout.batch, SEQUENCE_AXIS),
      PartitionSpec(*spec.classes, SEQUENCE_AXIS),
      PartitionSpec(*spec.query, SEQUENCE_AXIS),
      PartitionSpec(*spec.key, SEQUENCE_AXIS),
    ),
    out_specs=Attended(layout.tokens, layout.tokens),
  )(query, key, value, bias, blocks.classes, blocks.query, blocks.key)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def _attend(query, keys, own, devices, options, names):
  return _forward(query, keys, own, devices, options, names)[0]


def _forward(query, keys, own, devices, options, names):
  device = jax.lax.axis_index(SEQUENCE_AXIS)

  def attend(turn, keys, total):
    blocks = _meeting(own, keys, (device - turn) % devices)

    def run():
      out, logsumexp, _, _ = dispatch(
        "forward",
        names,
        options,
        query,
        keys.key,
        keys.value,
        keys.bias,
        blocks,
      )
      logsumexp = jnp.where(jnp.isposinf(logsumexp), -jnp.inf, logsumexp)
      return merge(total, Attended(out, logsumexp))

    return jax.lax.cond(_any(blocks), run, lambda: total)

  def step(turn, carry):
    keys, total = carry
    # The next keys travel while the kernel works on these.
    return _pass_on(keys, devices), attend(turn, keys, total)

  total = Attended(
    out=jnp.zeros_like(query, jnp.float32),
    logsumexp=jnp.full_like(query[..., 0], -jnp.inf, jnp.float32),
  )
  last, total = jax.lax.fori_loop(0, devices - 1, step, (keys, total))
  total = attend(devices - 1, last, total)
  out = checkpoint_name(total.out.astype(query.dtype), "attention_out")
  logsumexp = checkpoint_name(total.logsumexp, "attention_logsumexp")
  return (out, logsumexp), (query, keys, own, out, logsumexp)


def _backward(devices, options, names, residuals, gradients):
  query, keys, own, out, logsumexp = residuals
  delta, out_grad = row_gradients(own, out, logsumexp, *gradients)
  # As `Backend` has it for a query without keys.
  logsumexp = jnp.where(jnp.isneginf(logsumexp), jnp.inf, logsumexp)
  device = jax.lax.axis_index(SEQUENCE_AXIS)
  arrays = query, keys.key, keys.value, keys.bias

  def pull(turn, keys):
    blocks = _meeting(own, keys, (device - turn) % devices)

    def run():
      grads = dispatch(
        "backward",
        names,
        options,
        query,
        keys.key,
        keys.value,
        keys.bias,
        blocks,
        logsumexp,
        delta,
        out_grad,
      )
      return jax.tree.map(lambda x: x.astype(jnp.float32), grads)

    def nothing():
      return jax.tree.map(lambda x: jnp.zeros_like(x, jnp.float32), arrays)

    return jax.lax.cond(_any(blocks), run, nothing)

  def step(turn, carry):
    keys, grads = carry
    # While the kernel works on these keys, the next ones come, and what the
    # devices before have made of these.
    coming = _pass_on(keys, devices), _follow(grads, devices)
    new = pull(turn, keys)
    return coming[0], jax.tree.map(jnp.add, coming[1], new)

  carry = _pass_on(keys, devices), pull(0, keys)
  _, grads = jax.lax.fori_loop(1, devices, step, carry)
  grads = _follow(grads, devices)  # home again
  grads = jax.tree.map(lambda x, like: x.astype(like.dtype), grads, arrays)
  return grads[0], Keys(*grads[1:], places=None), None


_attend.defvjp(_forward, _backward)


def _divides(blocks, devices) -> bool:
  rows, columns = blocks.classes.shape[2:]
  whole = rows * blocks.block_query, columns * blocks.block_key
  lengths = blocks.query_length, blocks.key_length
  return whole == lengths and rows % devices == 0 and columns % devices == 0


def _by_owner(blocks, classes, query, key, devices) -> BlockMask:
  """The rows of this device; classes and lists [owner of the keys, ...]."""
  own = dataclasses.replace(
    blocks,
    query=query,
    key=key,
    query_length=query.segment.shape[-1],
    key_length=key.segment.shape[-1],
  )

  def lists(classes):
    made = own.with_classes(classes)
    return made.classes, made.key_lists, made.query_lists

  parts = classes.reshape(*classes.shape[:3], devices, -1)
  parts = jax.vmap(lists)(jnp.moveaxis(parts, 3, 0))
  names = "classes", "key_lists", "query_lists"
  return dataclasses.replace(own, **dict(zip(names, parts, strict=True)))


def _meeting(own, keys, owner) -> BlockMask:
  """The tiles of this device's queries and the keys of `owner`."""
  names = "classes", "key_lists", "query_lists"
  parts = {
    name: jax.tree.map(lambda x: x[owner], getattr(own, name)) for name in names
  }
  return dataclasses.replace(own, key=Coordinates(*keys.places), **parts)


def _any(blocks) -> jax.Array:
  """Whether there is a tile at all."""
  return (blocks.key_lists.count > 0).any()


def _pass_on(tree, devices):
  """Gives arrays to the next device, and takes those of the one before."""
  ring = [(i, (i + 1) % devices) for i in range(devices)]
  return jax.lax.ppermute(tree, SEQUENCE_AXIS, ring)


def _follow(grads, devices):
  """Gradients of keys go with them; those of queries stay."""
  return grads[0], *_pass_on(grads[1:], devices)
