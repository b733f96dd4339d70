"""ResNet trunk that returns the features of all four stages.

Source: arXiv:1512.03385, with the stride of a bottleneck on its 3x3 convolution
as in torchvision and Hugging Face. BatchNorm statistics are returned, see
`layers.norm`.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.conv import Conv
from trajvit.layers.norm import BatchNorm

# name -> (blocks a stage, whether blocks are bottlenecks).
RESNETS = {
  "resnet18": ((2, 2, 2, 2), False),
  "resnet50": ((3, 4, 6, 3), True),
}


class ConvNorm(nnx.Module):
  """Convolution and batch norm, and a ReLU unless told otherwise."""

  def __init__(
    self, inputs, outputs, kernel_size, *, stride=1, relu=True, dtype, rngs
  ):
    options = dict(stride=stride, dtype=dtype, rngs=rngs)
    self.conv = Conv(inputs, outputs, kernel_size, **options)
    self.norm = BatchNorm(outputs, dtype=dtype)
    self.relu = relu

  def __call__(self, x, *, train):
    """Returns the features and the running statistics."""
    x, stats = self.norm(self.conv(x), train=train)
    return jax.nn.relu(x) if self.relu else x, {"norm": stats}


class ResidualBlock(nnx.Module):
  """Two 3x3 convolutions, or a 1x1, 3x3, 1x1 bottleneck, and a shortcut."""

  def __init__(self, inputs, outputs, *, stride, bottleneck, dtype, rngs):
    options = dict(dtype=dtype, rngs=rngs)
    if bottleneck:
      inner = outputs // 4
      layers = [
        ConvNorm(inputs, inner, 1, **options),
        ConvNorm(inner, inner, 3, stride=stride, **options),
        ConvNorm(inner, outputs, 1, relu=False, **options),
      ]
    else:
      layers = [
        ConvNorm(inputs, outputs, 3, stride=stride, **options),
        ConvNorm(outputs, outputs, 3, relu=False, **options),
      ]
    self.layers = nnx.List(layers)
    options |= dict(stride=stride, relu=False)
    changes = stride > 1 or inputs != outputs
    self.shortcut = ConvNorm(inputs, outputs, 1, **options) if changes else None

  def __call__(self, x, *, train):
    """Returns the features and the running statistics."""
    y, stats = x, {}
    for i, layer in enumerate(self.layers):
      y, stats[i] = layer(y, train=train)
    stats = {"layers": stats}
    if self.shortcut is not None:
      x, stats["shortcut"] = self.shortcut(x, train=train)
    return jax.nn.relu(x + y), stats


class ResNet(nnx.Module):
  """Features of an image at strides 4, 8, 16 and 32.

  Args:
    variant: a name in RESNETS.
    dtype: of the convolutions.
    rngs: holds the key of the initial values.
  """

  def __init__(self, variant: str, *, dtype=jnp.float32, rngs: nnx.Rngs):
    if variant not in RESNETS:
      raise ValueError(
        f"unknown stem {variant!r}; known: {', '.join(sorted(RESNETS))}"
      )
    depths, bottleneck = RESNETS[variant]
    expansion = 4 if bottleneck else 1
    self.widths = tuple(64 * 2**i * expansion for i in range(4))
    options = dict(dtype=dtype, rngs=rngs)
    self.embed = ConvNorm(3, 64, 7, stride=2, **options)
    stages, inputs = [], 64
    for stage, (depth, width) in enumerate(
      zip(depths, self.widths, strict=True)
    ):
      blocks = []
      for i in range(depth):
        stride = 2 if stage > 0 and i == 0 else 1
        blocks.append(
          ResidualBlock(
            inputs, width, stride=stride, bottleneck=bottleneck, **options
          )
        )
        inputs = width
      stages.append(nnx.List(blocks))
    self.stages = nnx.List(stages)

  def __call__(
    self, x: jax.Array, *, train: bool
  ) -> tuple[list[jax.Array], dict]:
    """Returns four feature maps and the new running statistics.

    Args:
      x: [B, H, W, 3] float.
      train: whether batch statistics are used, and new running ones returned.
    """
    x, embed = self.embed(x, train=train)
    x = jax.lax.reduce_window(
      x,
      -jnp.inf,
      jax.lax.max,
      (1, 3, 3, 1),
      (1, 2, 2, 1),
      ((0, 0), (1, 1), (1, 1), (0, 0)),
    )
    features, stats = [], {}
    for i, blocks in enumerate(self.stages):
      stats[i] = {}
      for j, block in enumerate(blocks):
        x, stats[i][j] = block(x, train=train)
      features.append(x)
    return features, {"embed": embed, "stages": stats} if train else {}
