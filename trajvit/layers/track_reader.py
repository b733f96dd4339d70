"""A track read over time: what it is in every frame, as one vector."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.resampler import Resampler


class TrackReader(nnx.Module):
  """Embeds what a track is in every frame, and reads it over time.

  Args:
    inputs: channels of what a track is in a frame.
    width: D.
    num_heads: K of the resampler.
    frames: T, for a learned vector a frame; 0 for none and any T, in which case
      the inputs have to tell the time.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    inputs: int,
    width: int,
    *,
    num_heads: int,
    frames: int = 0,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    self.embed = Linear(inputs, width, dtype=dtype, rngs=rngs)
    init = nnx.initializers.normal(0.1)
    self.position = (
      nnx.Param(init(rngs.params(), (frames, width))) if frames else None
    )
    self.read = Resampler(
      width,
      num_heads=num_heads,
      depth=1,
      use_rotary=False,
      mlp_ratio=2,
      latent_scale=0.02,
      init="lecun",
      dtype=dtype,
      rngs=rngs,
    )

  def __call__(self, x: jax.Array, present: jax.Array) -> jax.Array:
    """Maps [N, T, inputs], and [N, T] bool, the frames it is in, to [N, D].

    Raises:
      ValueError: there are learned vectors for another number of frames.
    """
    # Content and time mix before the average over frames: a motion is what a
    # track does *when*, which no average of separate terms can tell.
    x = self.embed(x)
    if self.position is not None:
      known, got = self.position.shape[0], x.shape[1]
      if got != known:
        raise ValueError(
          f"tracks must have {known} frames, a learned vector each, got {got}"
        )
      x = x + self.position[...]
    return self.read(jax.nn.gelu(x), present)[:, 0]
