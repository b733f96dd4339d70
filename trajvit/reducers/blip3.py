"""BLIP-3-Video's temporal encoders: mean, attention, or a Turing machine."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.reducer import Reducer
from trajvit.layers.token_learner import TokenMaps
from trajvit.layers.token_turing import TokenTuring
from trajvit.ops.learned_tokens import (
  average,
  behind_protected,
  mixtures,
  unprotected,
)
from trajvit.ops.position import fourier
from trajvit.ops.token_grid import on_grid
from trajvit.reducers.attention_pool import PerceiverPool
from trajvit.types import Tokens

KINDS = ("mean", "attention", "ttm")
FREQUENCIES = 8  # of the time stamps


class Blip3(Reducer):
  """Collapses the tokens of all frames to a few dozen, by one of three ways.

  Source: BLIP-3-Video, arXiv:2410.16267. "mean" averages what is in the same
  slot of every real frame. "attention" is TokenLearner 1.1 over all frames at
  once. "ttm" reads frame after frame, stamped with their time, into the memory
  of a Token Turing Machine, see `layers.token_turing`, and puts out that; with
  `groups`, every stretch of a frame's slots has a memory of its own, by the
  same weights, so that places are not mixed.

  What the paper does not tell (how many groups, blocks and heads) is chosen
  here. Maps and memories are learned for P = 0 protected tokens; a call uses
  the first ones, as many as find a slot beside P.

  Args:
    k: slots afterwards. Those that are not filled are masked.
    grid: (T, h, w) of the patches, the last T h w slots.
    width: D.
    num_heads: K.
    kind: "mean", "attention" or "ttm".
    frame_tokens: resample every frame to so many tokens first, by a perceiver
      (128 in the paper); None keeps its patches.
    groups: of a frame's slots, in "ttm".
    depth: blocks of a step of the Turing machine, which reads
    read: tokens, with perceptrons of
    mlp_dim: hidden channels, and
    write: "summary" or "erase".
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown kind, or groups that do not divide a frame.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    num_heads: int,
    kind: str = "ttm",
    frame_tokens: int | None = None,
    groups: int = 1,
    depth: int = 4,
    read: int = 8,
    mlp_dim: int = 512,
    write: str = "summary",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if kind not in KINDS:
      raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    self.k, self.grid, self.kind, self.groups = k, tuple(grid), kind, groups
    self.slots = frame_tokens or math.prod(grid[1:])
    if self.slots % groups:
      raise ValueError(
        f"groups must divide the {self.slots} slots of a frame, got {groups}"
      )
    options = dict(dtype=dtype, rngs=rngs)
    self.frames = None
    if frame_tokens is not None:
      self.frames = PerceiverPool(
        k=frame_tokens, width=width, num_heads=num_heads, **options
      )
    if kind == "attention":
      self.maps = TokenMaps(width, k, **options)
    if kind == "ttm":
      self.stamp = Linear(2 * FREQUENCIES + 1, width, **options)
      self.turing = TokenTuring(
        width,
        num_heads=num_heads,
        memory=max(k // groups, 1),
        read=read,
        depth=depth,
        mlp_dim=mlp_dim,
        write=write,
        **options,
      )

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens and those of the clip. Aux is empty.

    Raises:
      ValueError: k has no room for the slots of a frame ("mean"), or for one
        token of every group ("ttm"); or there are fewer than T h w tokens.
    """
    del key
    prefix = on_grid(tokens, self.grid).prefix
    room = self.k - prefix
    least = self.slots if self.kind == "mean" else self.groups
    if room < least:
      raise ValueError(
        f"k must be at least {prefix + least} for kind {self.kind!r} with "
        f"{prefix} tokens that are no patches, got {self.k}"
      )
    patches = math.prod(self.grid[1:])
    source = jax.tree.map(
      lambda x: x[:, prefix:].reshape(-1, patches, *x.shape[2:]),
      unprotected(tokens),
    )  # [B T, n]
    if self.frames is not None:
      source = unprotected(self.frames(source)[0])
    frames = self.grid[0]
    source = jax.tree.map(
      lambda x: x.reshape(-1, frames, *x.shape[1:]), source
    )  # [B, T, n]
    new = getattr(self, f"_{self.kind}")(source, room)
    batch = tokens.mask.shape[0]
    new = jax.tree.map(lambda x: x.reshape(batch, -1, *x.shape[2:]), new)
    return behind_protected(tokens, new, self.k), {}

  def _mean(self, source, room):
    """[B, T, n] -> [B n, 1]: every slot is a set of its frames."""
    del room
    source = jax.tree.map(
      lambda x: jnp.swapaxes(x, 1, 2).reshape(-1, self.grid[0], *x.shape[3:]),
      source,
    )
    count = jnp.maximum(source.mask.sum(1), 1)[:, None, None]
    shares = source.mask[:, None] / count  # [B n, 1, T]
    return _mixed(source, shares.astype(jnp.float32))

  def _attention(self, source, room):
    """[B, T, n] -> [B, k - P]."""
    source = jax.tree.map(
      lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), source
    )
    maps = self.maps(source.features, source.mask)[:, :room]
    return _mixed(source, maps)

  def _ttm(self, source, room):
    """[B, T, n] -> [B groups, slots of a memory]."""
    stamp = self.stamp(fourier(source.positions[..., :1], FREQUENCIES))
    stamped = source.features + stamp.astype(source.features.dtype)
    stamped = jnp.where(source.mask[..., None], stamped, 0)

    def grouped(x):  # [B, T, n, ...] -> [B groups, T, n / groups, ...]
      x = x.reshape(*x.shape[:2], self.groups, -1, *x.shape[3:])
      x = jnp.moveaxis(x, 2, 1)
      return x.reshape(-1, *x.shape[2:])

    source = jax.tree.map(grouped, source)
    _, memory, positions = self.turing(
      grouped(stamped),
      source.mask,
      source.positions,
      slots=room // self.groups,
    )
    source = jax.tree.map(
      lambda x: x.reshape(x.shape[0], -1, *x.shape[3:]), source
    )
    return mixtures(source, memory, positions)


def _mixed(source, shares):
  """Mixtures of the features and the positions of sets by shares [S, M, N]."""
  return mixtures(
    source,
    average(shares, source.features),
    average(shares, source.positions),
  )
