"""Two by two patches become one, by a learned map beside their mean."""

import math

import jax
import jax.numpy as jnp

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.reducer import Reducer
from trajvit.ops.token_grid import on_grid, with_patches
from trajvit.ops.token_size import SMALLEST
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class LaCo(Reducer):
  """Halves rows and columns of the grid: channels of 2 x 2 patches, mapped.

  The four patches are put side by side (pixel shuffle, 4 D channels), a
  perceptron maps them back to D, and their mean is added, which needs no
  parameters. Source: LaCo, arXiv:2507.02279, between layers of the encoder. A
  norm in front of the perceptron and a last map that starts at zero are ours:
  at first the result is the mean, so that a trained encoder goes on from there.

  Odd rows and columns are filled up with cells that count for nothing.

  Args:
    grid: (T, h, w).
    width: D.
    k: most slots afterwards, protected ones among them. If the halved grid has
      more, as few neighbouring frames as will do are averaged before. None
      leaves time as it is.
    hidden: width inside the perceptron; None is D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    grid: tuple[int, int, int],
    width: int,
    k: int | None = None,
    hidden: int | None = None,
    dtype=jnp.float32,
    rngs,
  ):
    self.grid, self.k = tuple(grid), k
    hidden = width if hidden is None else hidden
    options = dict(dtype=dtype, rngs=rngs)
    self.norm = LayerNorm(4 * width, dtype=dtype)
    self.inner = Linear(4 * width, hidden, **options)
    self.outer = Linear(hidden, width, init="zeros", **options)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns what is no patch, and the halved grid in raster order.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, nothing is drawn.

    Returns:
      P + T' h' w' tokens, T' being T unless k asks for fewer: positions are
      means by size over real patches, sizes are sums; a slot of masked patches
      is masked. Aux is empty.

    Raises:
      ValueError: k has no room for one frame of the halved grid; what `on_grid`
        raises.
    """
    del key
    found, tokens = on_grid(tokens, self.grid), zero_masked(tokens)
    joined = self._frames_joined(found.prefix)

    def cells(x):
      return self._cells(x[:, found.prefix :], joined)

    size = cells(tokens.size[..., None])
    counted = jnp.maximum(size, SMALLEST)
    weight = jnp.where(cells(tokens.mask[..., None]), counted, 0)
    # Over frames first: what the perceptron reads is still 2 x 2.
    corners = _mean(cells(tokens.features), weight, 2)  # [B, C, 4, D]
    mean = _mean(corners, weight.sum(2), 2)
    joint = corners.reshape(*corners.shape[:2], -1)
    joint = jax.nn.gelu(self.inner(self.norm(joint)), approximate=False)
    patches = Tokens(
      features=mean + self.outer(joint),
      mask=(weight > 0).any((2, 3, 4)),
      positions=_mean(cells(tokens.positions), weight, (2, 3)),
      size=size.sum((2, 3, 4)),
    )
    return with_patches(tokens, found.prefix, patches), {}

  def _frames_joined(self, prefix):
    """How many frames become one, so that everything fits."""
    frames, height, columns = self.grid
    if self.k is None:
      return 1
    cells = -(-height // 2) * -(-columns // 2)
    room = (self.k - prefix) // cells
    if room < 1:
      raise ValueError(
        f"k must hold the {cells} cells of a frame behind {prefix} tokens that "
        f"are no patches, got {self.k}"
      )
    return math.ceil(frames / room)

  def _cells(self, x, joined):
    """[B, T h w, c] to [B, T' h' w', joined, 4, c]."""
    blocks = (joined, 2, 2)
    sizes = [-(-n // b) for n, b in zip(self.grid, blocks, strict=True)]
    spare = [
      (0, n * b - s) for n, b, s in zip(sizes, blocks, self.grid, strict=True)
    ]
    x = x.reshape(x.shape[0], *self.grid, x.shape[-1])
    x = jnp.pad(x, [(0, 0), *spare, (0, 0)])
    split = [n for pair in zip(sizes, blocks, strict=True) for n in pair]
    x = x.reshape(x.shape[0], *split, x.shape[-1])
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(x.shape[0], math.prod(sizes), joined, 4, x.shape[-1])


def _mean(x, weight, axes):
  """The mean by weight over axes, in float32; 0 where nothing weighs."""
  total = weight.sum(axes)
  total = jnp.where(total > 0, total, 1)
  return (x.astype(jnp.float32) * weight).sum(axes) / total
