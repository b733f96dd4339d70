"""TokenLearner: a few tokens a frame, each a learned mixture of its patches."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.reducer import Reducer
from trajvit.layers.token_learner import ConvTokenMaps, TokenMaps
from trajvit.ops.learned_tokens import (
  average,
  behind_protected,
  mixtures,
  unprotected,
)
from trajvit.ops.token_grid import on_grid
from trajvit.types import Tokens

VERSIONS, SCOPES = ("1.0", "1.1"), ("frame", "clip")


class TokenLearner(Reducer):
  """Mixes the patches of every frame to m tokens, by maps that it learns.

  Source: TokenLearner, arXiv:2106.11297, version 1.1 or 1.0, see
  `layers.token_learner`. In 1.0 a token is the sum, not the mean, of what its
  map weighs. Padding is left out of the softmax and of the sums; a frame
  without a real patch has no token.

  The number of class and register tokens P is only known in a call. Maps are
  learned for P = 0; a call uses the first ones, as many as find a slot.

  Args:
    k: slots afterwards, P + T m. Those that an m beside them does not fill are
      masked.
    grid: (T, h, w) of the patches, the last T h w slots.
    width: D.
    version: "1.1" or "1.0".
    scope: "frame" gives every frame m tokens of its own; "clip" gives the clip
      k - P tokens, each a mixture of all its patches.
    hidden: hidden width of the perceptron of version 1.1.
    dtype: of the products.
    rngs: holds the key of the initial values.

  Raises:
    ValueError: an unknown version or scope, or k is less than T in "frame".
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    width: int,
    version: str = "1.1",
    scope: str = "frame",
    hidden: int = 64,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    for name, got, known in (
      ("version", version, VERSIONS),
      ("scope", scope, SCOPES),
    ):
      if got not in known:
        raise ValueError(f"{name} must be one of {known}, got {got!r}")
    self.k, self.grid, self.scope = k, tuple(grid), scope
    self.convolves = version == "1.0"
    self.sets = grid[0] if scope == "frame" else 1
    count = self._count(0)
    options = dict(dtype=dtype, rngs=rngs)
    self.maps = (
      ConvTokenMaps(width, count, **options)
      if self.convolves
      else TokenMaps(width, count, hidden=hidden, **options)
    )

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens and the new ones, frame by frame.

    Aux: `maps` [B, T, m, n] float32, what a token takes of every patch of its
    frame; [B, 1, k - P, T n] in "clip".

    Raises:
      ValueError: k has no room for a token a frame beside P others, or there
        are fewer than T h w tokens.
    """
    del key
    prefix = on_grid(tokens, self.grid).prefix
    patches = math.prod(self.grid) // self.sets

    def by_set(x):  # [B, P + T n, ...] -> [B sets, patches of a set, ...]
      return x[:, prefix:].reshape(-1, patches, *x.shape[2:])

    source = jax.tree.map(by_set, unprotected(tokens))
    maps = self._maps(source)[:, : self._count(prefix)]
    sums = maps.sum(-1, keepdims=True)
    shares = maps / jnp.where(sums > 0, sums, 1)
    new = mixtures(
      source,
      average(maps, source.features),
      average(shares, source.positions),
    )
    batch = tokens.mask.shape[0]
    new = jax.tree.map(lambda x: x.reshape(batch, -1, *x.shape[2:]), new)
    maps = maps.reshape(batch, self.sets, *maps.shape[1:])
    return behind_protected(tokens, new, self.k), {"maps": maps}

  def _maps(self, source):
    """[B sets, m, patches of a set] float32."""
    if not self.convolves:
      return self.maps(source.features, source.mask)
    images = (-1, *self.grid[1:])
    width = source.features.shape[-1]
    maps = self.maps(
      source.features.reshape(*images, width), source.mask.reshape(images)
    )
    sets = source.mask.shape[0]
    maps = maps.reshape(sets, -1, *maps.shape[1:])  # [B sets, frames, m, h, w]
    return jnp.moveaxis(maps, 2, 1).reshape(sets, maps.shape[2], -1)

  def _count(self, prefix):
    """How many tokens a set has."""
    count = (self.k - prefix) // self.sets
    if count < 1:
      raise ValueError(
        f"k must be at least {prefix + self.sets}, for {prefix} tokens that "
        f"are no patches and one of each of {self.sets} sets, got {self.k}"
      )
    return count
