"""A discriminator of patches of clips, for decoders trained adversarially."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stems.patch import check_frame_size
from trajvit.layers.temporal_conv import TemporalConv
from trajvit.ops.masked import only_real

SLOPE = 0.2  # of the leaky ReLU, below 0


class Discriminator(nnx.Module):
  """A map of logits of a clip, each of which sees a part of it.

  Source: PatchGAN, arXiv:1611.07004: 4 x 4 convolutions of stride 2 and leaky
  ReLUs, here each with a convolution over three frames behind it; a logit sees
  2 n + 1 frames with n stages. Features are normalised by layer norms, so that
  no clip's logits, and no gradient penalty, depend on the rest of the batch.

  Args:
    widths: channels of each stage.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    widths: Sequence[int] = (32, 64, 128),
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if not widths:
      raise ValueError("widths must have a stage, got none")
    self.widths = tuple(widths)
    options = dict(dtype=dtype, rngs=rngs)
    inputs = (3, *widths[:-1])
    self.space = nnx.List(
      [
        Conv(before, after, 4, stride=2, bias=True, init="lecun", **options)
        for before, after in zip(inputs, widths, strict=True)
      ]
    )
    self.time = nnx.List([TemporalConv(n, n, **options) for n in widths])
    # None behind the first stage, as in PatchGAN: it sees the pixels' level.
    self.norms = nnx.List([LayerNorm(n, dtype=dtype) for n in widths[1:]])
    self.logit = Linear(widths[-1], 1, rngs=rngs)

  def __call__(
    self, frames: jax.Array, frame_mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns logits [B, T, H / 2^n, W / 2^n] float32, high for real clips.

    Args:
      frames: [B, T, H, W, 3] float, normalised; an image is a clip of T = 1.
      frame_mask: [B, T] bool, True = real frame, whose logits alone count and
        see nothing of the others; those of masked frames are 0. None: all are.

    Raises:
      ValueError: 2^n does not divide H and W, n = len(widths).
    """
    check_frame_size(frames[:, 0], 2 ** len(self.widths))
    x = only_real(frames, frame_mask)
    norms = (None, *self.norms)
    for space, time, norm in zip(self.space, self.time, norms, strict=True):
      y = space(x.reshape(-1, *x.shape[2:]))
      x = jax.nn.leaky_relu(y.reshape(*x.shape[:2], *y.shape[1:]), SLOPE)
      x = x + time(x, frame_mask)
      x = x if norm is None else norm(x)
    logits = self.logit(x.astype(jnp.float32))[..., 0]
    return only_real(logits, frame_mask)
