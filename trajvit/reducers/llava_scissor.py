"""One token for each region of tokens that similarity connects."""

import dataclasses

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.components import connected_components
from trajvit.ops.distances import cosine_distances
from trajvit.ops.merge_budget import plan_best
from trajvit.ops.merged_positions import head_positions
from trajvit.ops.merging import merge, take_slots
from trajvit.ops.token_grid import TokenGrid, on_grid, with_patches
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens

HIGHEST = jax.lax.Precision.HIGHEST


class LlavaScissor(Reducer):
  """Merges connected components of similar tokens, in frames and across them.

  Tokens whose cosine is above the threshold are neighbours. The components of a
  frame become their means; those of all frames are connected the same way, and
  become means of means. Then every patch joins the most similar of these, and a
  region is the mean of its representative and all who joined it. Source:
  LLaVA-Scissor, arXiv:2506.21862, behind the encoder, where large graphs are
  sampled; here they never are.

  Args:
    k: slots afterwards, protected tokens among them.
    grid: (T, h, w).
    threshold: None finds for every clip the largest threshold that leaves no
      more regions than slots, by bisection. With a number, 0.9 or 0.95 in the
      paper, the regions of most patches get the slots, and patches of others
      join those.
    rounds: of the bisection, each of which connects the clip anew; the
      threshold is within 3 / 2^rounds of the best.

  Raises:
    ValueError: there are no rounds.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    threshold: float | None = None,
    rounds: int = 12,
  ):
    if rounds < 1:
      raise ValueError(f"rounds must be at least 1, got {rounds}")
    self.k, self.grid, self.rounds = k, tuple(grid), rounds
    self.threshold = threshold

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns one token a region, in raster order of their first patches.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the regions are fixed.

    Returns:
      k tokens; empty slots where there are fewer regions. Aux: `owner`
      [B, T h w] int32, the slot behind the P others that each patch is in, -1
      where masked; `threshold` [B] float32; `overflow` [B] int32, regions that
      found no slot, whose patches joined others.

    Raises:
      ValueError: k is not in [P + 1, N]; what `on_grid` raises.
    """
    del key
    tokens = zero_masked(tokens)
    found = on_grid(tokens, self.grid)
    slots = self.k - found.prefix
    batch, count = found.mask.shape[0], found.mask[0].size
    if not 1 <= slots <= count:
      raise ValueError(
        f"k must be in [{found.prefix + 1}, {found.prefix + count}], got "
        f"{self.k}"
      )
    if self.threshold is None:
      threshold = self._largest(found, slots)
    else:
      threshold = jnp.full(batch, self.threshold, jnp.float32)
    means, heads, region = regions(found, threshold)

    score = (region[..., None] == jnp.arange(count)).sum(1)
    plan = plan_best(region, heads, score, slots=slots)
    patches = jax.tree.map(lambda x: x[:, found.prefix :], tokens)
    parts = Tokens(means, heads, patches.positions, jnp.ones(heads.shape))
    center = merge(parts, plan).features  # [B, K, D]
    joined, owner = join_nearest(patches, center, plan.mask)
    joined = Tokens(
      features=joined,
      mask=plan.mask,
      positions=head_positions(patches.positions, plan),
      size=jnp.einsum(
        "bnk,bn->bk",
        jax.nn.one_hot(owner, slots),
        patches.size,
        precision=HIGHEST,
      ),
    )
    found_regions = (heads & (region == jnp.arange(count))).sum(1)
    overflow = jnp.maximum(found_regions - slots, 0).astype(jnp.int32)
    aux = {"owner": owner, "threshold": threshold, "overflow": overflow}
    return with_patches(tokens, found.prefix, joined), aux

  def _largest(self, found, slots):
    """[B] float32, the largest threshold that leaves at most so many."""
    count = found.mask[0].size
    fixed = jax.lax.stop_gradient(found.features)
    found = dataclasses.replace(found, features=fixed)

    def halve(_, ends):
      low, high = ends
      middle = (low + high) / 2
      _, heads, region = regions(found, middle)
      left = (heads & (region == jnp.arange(count))).sum(1)
      fits = left <= slots
      return jnp.where(fits, middle, low), jnp.where(fits, high, middle)

    # At -2 all tokens are connected, and above 1 none is to another.
    ends = (jnp.full(found.mask.shape[0], end) for end in (-2.0, 1.001))
    return jax.lax.fori_loop(0, self.rounds, halve, tuple(ends))[0]


def regions(
  patches: TokenGrid, threshold: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns the components of frames, and those of the clip they are in.

  Args:
    patches: T n patches a clip.
    threshold: [B] float32, above which a cosine connects.

  Returns:
    means [B, T n, D] float32, at the first patch of every frame's components;
    heads [B, T n] bool, where these are; and [B, T n] int32 in [0, T n), for
    every patch the first one of its region, itself where masked.
  """
  batch, frames, n, width = patches.features.shape
  x = patches.features.astype(jnp.float32)
  least = threshold[:, None, None]
  fixed = jax.lax.stop_gradient(x)
  near = 1 - cosine_distances(fixed) > least[..., None]
  label = connected_components(near, patches.mask)  # [B, T, n]
  member = jax.nn.one_hot(label, n)  # [B, T, n, n]
  size = jnp.maximum(member.sum(2), 1)[..., None]
  means = jnp.einsum("btij,btid->btjd", member, x, precision=HIGHEST) / size
  means = means.reshape(batch, frames * n, width)

  own = jnp.arange(frames * n)
  head = jnp.arange(frames)[:, None] * n + label
  mask = patches.mask.reshape(batch, -1)
  head = jnp.where(mask, head.reshape(batch, -1), own)
  heads = mask & (head == own)
  near = 1 - cosine_distances(jax.lax.stop_gradient(means)) > least
  region = connected_components(near, heads)
  region = jnp.where(mask, take_slots(region, head), own)
  return means, heads, region


def join_nearest(
  patches: Tokens, center: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the means of centers and all patches that are most similar to them.

  Args:
    patches: N patches a clip, zeros in masked slots.
    center: [B, K, D] float32.
    mask: [B, K] bool, True = real center.

  Returns:
    [B, K, D] float32, where a center counts as one patch; and [B, N] int32, the
    center each patch is most similar to, the first of equals, -1 where masked.
  """
  x = patches.features.astype(jnp.float32)
  fixed = jax.lax.stop_gradient((x, center))
  distance = jnp.where(mask[:, None], cosine_distances(*fixed), jnp.inf)
  owner = jnp.where(patches.mask, jnp.argmin(distance, axis=-1), -1)
  member = jax.nn.one_hot(owner, center.shape[1])  # [B, N, K]
  total = jnp.einsum("bnk,bnd->bkd", member, x, precision=HIGHEST)
  count = member.sum(1)[..., None]
  return (center + total) / (1 + count), owner.astype(jnp.int32)
