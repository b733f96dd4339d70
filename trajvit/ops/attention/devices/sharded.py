"""Attention over a mesh: every device attends for its own clips and heads.

Clips and heads do not interact, so that nothing is sent between devices. The
compiler cannot know that: it cannot cut a kernel at all, and would gather what
a list points at. Hence `jax.shard_map`, over the mesh in JAX's own context, so
that models need not know of it.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from trajvit.compat import vary
from trajvit.mesh import (
  BATCH_AXES,
  HEAD_AXIS,
  SEQUENCE_AXIS,
  mesh_sizes,
)
from trajvit.ops.attention.block_mask import BlockMask
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.sparse import Attended


def over_mesh(
  run: Callable[..., Attended],
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  mask: AttentionMask | BlockMask,
  bias: jax.Array | None,
  *,
  cut_queries: bool = False,
) -> Attended:
  """Returns `run(query, key, value, mask, bias)`, each device its part of it.

  The mesh is the one of `jax.set_mesh` or `jax.sharding.use_abstract_mesh`.
  Without one, on a single device, or where the caller is inside a
  `jax.shard_map` already, `run` is called as it is.

  Args:
    run: attention of its arguments, clip by clip and head by head.
    query: [B, Nq, K, d]. B is cut along the axes `data` and `fsdp`; if they do
      not divide it, each device computes all of B, as `make_predict` does with
      an odd batch. K is cut along the axis `tensor`.
    key: [B, Nk, K, d].
    value: [B, Nk, K, d].
    mask: cut likewise where it has an axis of size B or a list for each group
      of heads, else copied.
    bias: [B, Nk] or None.
    cut_queries: cut Nq along the axis `context` where that divides it; every
      device has all keys. For an AttentionMask, and no statistics of tiles.

  Raises:
    ValueError: the axis `tensor` does not divide K.
  """
  sizes = mesh_sizes()
  if sizes is None:
    return run(query, key, value, mask, bias)
  parts = sizes.get(SEQUENCE_AXIS, 1) if cut_queries else 1
  cut = parts > 1 and query.shape[1] % parts == 0
  queries = Layout.of(
    sizes, query.shape, sequence=(SEQUENCE_AXIS,) if cut else ()
  )
  keys = dataclasses.replace(queries, sequence=())
  mask = keys.with_lists(mask)
  specs = keys.mask(mask)
  if cut:
    specs = AttentionMask(
      keys=specs,
      query_segments=PartitionSpec(queries.batch, queries.sequence),
      key_segments=specs,
    )

  def local(*inputs):
    return run(*vary(inputs, queries.axes))

  return jax.shard_map(
    local,
    in_specs=(
      queries.tokens,
      keys.tokens,
      keys.tokens,
      specs,
      PartitionSpec(keys.batch),
    ),
    out_specs=queries.attended,
  )(query, key, value, mask, bias)


@dataclasses.dataclass(frozen=True)
class Layout:
  """How attention is cut along the axes of a mesh.

  Attributes:
    batch: the mesh axes that clips are cut along.
    heads: the mesh axes that heads are cut along: one or none.
    devices: how many parts the heads are cut into.
    sequence: the mesh axes that tokens are cut along: one or none.
  """

  batch: tuple[str, ...]
  heads: tuple[str, ...]
  devices: int
  sequence: tuple[str, ...] = ()

  @classmethod
  def of(cls, sizes: dict[str, int], shape: tuple, **options) -> "Layout":
    """Returns the layout for queries [B, N, K, d] on a mesh.

    Args:
      sizes: of the mesh axes by name.
      shape: of the queries.
      **options: further attributes.

    Raises:
      ValueError: the axis `tensor` does not divide K.
    """
    devices = sizes.get(HEAD_AXIS, 1)
    if shape[2] % devices:
      raise ValueError(
        f"the number of heads must be a multiple of the {devices} devices "
        f"along the mesh axis {HEAD_AXIS!r}, got {shape[2]}"
      )
    batch = tuple(name for name in BATCH_AXES if sizes.get(name, 1) > 1)
    if shape[0] % math.prod(sizes[name] for name in batch):
      batch = ()
    heads = (HEAD_AXIS,) if devices > 1 else ()
    return cls(batch, heads, devices, **options)

  @property
  def axes(self) -> tuple[str, ...]:
    """All mesh axes that something is cut along."""
    return self.batch + self.heads + self.sequence

  @property
  def tokens(self) -> PartitionSpec:
    """Of queries, keys, values and outputs."""
    return PartitionSpec(self.batch, self.sequence, self.heads)

  @property
  def attended(self) -> Attended:
    """Of a result."""
    tiles = PartitionSpec(self.batch, self.heads)
    return Attended(self.tokens, self.tokens, tiles, tiles)

  def with_lists(
    self, mask: AttentionMask | BlockMask
  ) -> AttentionMask | BlockMask:
    """Returns the mask with lists that can be shared out among the devices.

    Lists for groups of heads are repeated until no group is cut.
    """
    if isinstance(mask, AttentionMask) or mask.classes.shape[1] == 1:
      return mask
    lists = mask.classes.shape[1]
    times = math.lcm(lists, self.devices) // lists
    repeated = jax.tree.map(
      lambda x: jnp.repeat(x, times, axis=1),
      (mask.classes, mask.key_lists, mask.query_lists),
    )
    names = "classes", "key_lists", "query_lists"
    return dataclasses.replace(mask, **dict(zip(names, repeated, strict=True)))

  def mask(self, mask: AttentionMask | BlockMask):
    """Returns the PartitionSpecs of a mask, as a mask of them."""
    if isinstance(mask, AttentionMask):
      return PartitionSpec(self.batch)
    batch, heads = mask.classes.shape[:2]
    lists = PartitionSpec(
      self.batch if batch > 1 else (), self.heads if heads > 1 else ()
    )

    def coordinates(of):
      rows = of.segment.shape[0]
      return PartitionSpec(self.batch if rows > 1 else ())

    return dataclasses.replace(
      mask,
      classes=lists,
      key_lists=lists,
      query_lists=lists,
      query=coordinates(mask.query),
      key=coordinates(mask.key),
      dropped=PartitionSpec(),
    )
