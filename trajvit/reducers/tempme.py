"""TempMe: neighbouring frames are joined, and merge across each other."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.reducer import Reducer
from trajvit.ops.matching_rounds import merge_to_fit
from trajvit.ops.token_front import cut, rejoin
from trajvit.ops.token_grid import on_grid
from trajvit.types import Tokens


class TempMe(Reducer):
  """Joins every `clips` frames and merges the most similar of their patches.

  Patches of a window meet wherever in it they are, and no others do. A vector
  for each frame, which starts at zero and is learned, is added before they
  merge and after they were compared. Meant for several places: behind this one
  the windows are the frames of a grid (T / clips, 1, (k - P) clips / T), which
  a second one can join further, if that is a whole number.

  Source: TempMe, arXiv:2409.01156. There a frame has a class token of its own,
  attention stays inside the joined frames, and after it some more merge by
  their keys, as `ToMe` does. Which of the patches are the sources here does not
  depend on class tokens.

  Args:
    k: slots afterwards, P protected tokens among them. Each window has an equal
      share of the rest, rounded down, so that a clip with padding frames has
      fewer tokens; slots beyond the shares are empty.
    grid: (T, h, w).
    clips: frames that are joined, a divisor of T.
    width: D.
    rngs: unused, as nothing is drawn.

  Raises:
    ValueError: `clips` does not divide T.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    clips: int = 2,
    rngs: nnx.Rngs | None = None,
  ):
    del rngs
    self.k, self.grid, self.clips = k, tuple(grid), clips
    if clips < 1 or grid[0] % clips:
      raise ValueError(f"clips must divide {grid[0]} frames, got {clips}")
    self.frame = nnx.Param(jnp.zeros((grid[0], width)))

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns (k - P) clips / T tokens for each window, in their old order.

    Sizes add up. Aux: `overflow` [B] int32, tokens lost as nothing was left to
    join, which is 0.

    Raises:
      ValueError: there are no patches of this grid, or k leaves a window no
        slot or more than it has patches.
    """
    del key
    patches = on_grid(tokens, self.grid)
    batch, frames, cells = patches.mask.shape
    windows, inside = frames // self.clips, self.clips * cells
    low, high = (patches.prefix + windows * n for n in (1, inside))
    if not low <= self.k <= high:
      raise ValueError(f"k must be in [{low}, {high}], got {self.k}")
    share = (self.k - patches.prefix) // windows

    front, rest = cut(tokens, patches.prefix)
    metric = rest.features.reshape(batch * windows, inside, -1)
    if share < inside:
      frame = jnp.repeat(self.frame[...], cells, axis=0)  # [T n, D]
      features = rest.features + frame.astype(rest.features.dtype)
      rest = dataclasses.replace(rest, features=features)

    def refold(x, count, length):
      return x.reshape(count, length, *x.shape[2:])

    rest = jax.tree.map(lambda x: refold(x, batch * windows, inside), rest)
    merged, lost = merge_to_fit(rest, metric, share, protected=0)
    merged = jax.tree.map(lambda x: refold(x, batch, windows * share), merged)
    reduced = rejoin(front, merged, self.k)
    return reduced, {"overflow": lost.reshape(batch, windows).sum(1)}


def joined_counts(
  count: int,
  *,
  layers: int = 8,
  r: int = 2,
  joins: Sequence[int] = (2, 2, 3, 1),
  before: float = 0.3,
  after: float = 0.1,
) -> tuple[tuple[int, int], ...]:
  """Returns (tokens, class tokens) of a clip after each part of TempMe.

  First single frames lose r tokens a layer. Then, layer by layer, clips are
  joined; of the m clips' tokens a share merges before attention and, of those
  left, another after it. Where nothing is joined only the latter does. Class
  tokens are counted, and never merge: patches are halved at the most.

  Args:
    count: tokens of a frame, with its class token.
    layers: of single frames.
    r: tokens that merge in each of them.
    joins: m of each layer that follows, at least 1.
    before: share that merges before attention, in [0, 1].
    after: share that merges after it, in [0, 1].

  Returns:
    One pair after the layers of single frames, and one after each other layer.

  Raises:
    ValueError: a share or a count is out of range.
  """
  first, second = (Fraction(str(share)) for share in (before, after))
  left = count - layers * r
  if min(first, second) < 0 or max(first, second) > 1:
    raise ValueError(f"shares must be in [0, 1], got {before} and {after}")
  if left < 1 or min(joins, default=1) < 1:
    raise ValueError(
      f"a frame must keep a token and joins be at least 1, got {left} and "
      f"{tuple(joins)}"
    )
  counts, classes = [(left, 1)], 1
  for clips in joins:
    total, classes = clips * left, clips * classes
    most = (total - classes) // 2
    sooner = min(int(first * total), most) if clips > 1 else 0
    later = min(int(second * (total - sooner)), (total - classes - sooner) // 2)
    left = total - sooner - later
    counts.append((left, classes))
  return tuple(counts)
