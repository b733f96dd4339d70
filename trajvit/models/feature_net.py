"""A small network whose features say how alike two clips are.

Perceptual losses and the Fréchet distance need a fixed network of features.
This one is trained as any model, on the classes of clips, and is then frozen:
what it measures depends on its weights, so that `weight_hash` names them beside
every number.
"""

import hashlib
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.stems.conv import ResidualConv
from trajvit.layers.stems.patch import PatchLinear, check_frame_size
from trajvit.layers.temporal_conv import TemporalConv
from trajvit.models.normalization import (
  known_normalization,
  normalize,
  renormalize,
)
from trajvit.ops.masked import only_real
from trajvit.types import Batch, Tokens


class FeatureNet(nnx.Module):
  """Stages of convolutions, each one along time and one in space.

  Every stage halves the rows and columns that it is given, and keeps the
  frames, so that a feature belongs to a frame and the frame's mask is its own.
  No statistics are shared by clips.

  Args:
    num_classes: of clips.
    widths: channels of each stage; the last is C, that of the pooled features.
    normalization: of the frames, see `models.normalization`.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    *,
    num_classes: int,
    widths: Sequence[int] = (32, 64, 128),
    normalization: str = "symmetric",
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if num_classes < 1 or not widths:
      raise ValueError(
        "num_classes must be at least 1 and widths have a stage, "
        f"got {num_classes} and {tuple(widths)}"
      )
    self.widths = tuple(widths)
    self.normalization = known_normalization(normalization)
    inputs = (3, *widths[:-1])
    self.stages = nnx.List(
      [
        Stage(before, after, dtype=dtype, rngs=rngs)
        for before, after in zip(inputs, widths, strict=True)
      ]
    )
    self.norm = LayerNorm(widths[-1])
    self.classifier = Linear(
      widths[-1], num_classes, init="trunc_normal", rngs=rngs
    )

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the logits of the classes of a batch.

    Args:
      batch: `clip.frames` uint8; no tracks or text are read.
      key: unused.

    Returns:
      logits: [B, num_classes] float32.
      video_embedding: [B, C] float32, the pooled features.
      tokens: T Tokens, each frame's mean in the last stage.
      aux: {}.
    """
    del key
    clip = normalize(batch.clip, self.normalization)
    maps, pooled = self.features(clip.frames, clip.frame_mask)
    return {
      "logits": self.classifier(pooled),
      "video_embedding": pooled,
      "tokens": _frame_tokens(maps[-1], clip.frame_mask),
      "aux": {},
    }

  def features(
    self,
    frames: jax.Array,
    frame_mask: jax.Array | None = None,
    *,
    normalization: str | None = None,
  ) -> tuple[list[jax.Array], jax.Array]:
    """Returns a map of features of every stage, and the pooled features.

    Args:
      frames: [B, T, H, W, 3] float.
      frame_mask: [B, T] bool, True = real frame; None: all are.
      normalization: of the frames; None is that of this network, and frames of
        another one are normalised anew.

    Returns:
      Maps [B, T, H / 2^(i + 1), W / 2^(i + 1), widths[i]] in `dtype`, zeros in
      masked frames, and [B, C] float32, the mean of the last over the cells of
      real frames, normalised; that of zeros for a clip without any.

    Raises:
      ValueError: H or W cannot be halved so often.
    """
    check_frame_size(frames[:, 0], 2 ** len(self.widths))
    if normalization is not None:
      frames = renormalize(frames, normalization, self.normalization)
    x, maps = only_real(frames, frame_mask), []
    for stage in self.stages:
      x = only_real(stage(x, frame_mask), frame_mask)
      maps.append(x)
    pooled = x.astype(jnp.float32).mean((2, 3))  # [B, T, C]
    count = x.shape[1]
    if frame_mask is not None:
      count = jnp.maximum(frame_mask.sum(1, keepdims=True), 1)
    return maps, self.norm(pooled.sum(1) / count)


class Stage(nnx.Module):
  """2 x 2 patches, a convolution of three frames and one of 3 x 3 cells.

  Nonlinearities are on both sides of the one along time: the mean over frames
  of what is linear in them would not know their order. It reads what differs
  from the mean over time: colours are much louder than what moves between two
  frames, and would drown it for longer than a small run lasts.

  Args:
    inputs: channels in.
    outputs: channels out.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(self, inputs: int, outputs: int, *, dtype, rngs: nnx.Rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.patch = PatchLinear(inputs, outputs, 2, **options)
    self.norm = LayerNorm(outputs, dtype=dtype)
    self.time = TemporalConv(outputs, outputs, **options)
    self.space = ResidualConv(outputs, **options)

  def __call__(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Maps [B, T, H, W, inputs] to [B, T, H / 2, W / 2, outputs]."""
    lead = x.shape[:2]
    x = self.patch(x.reshape(-1, *x.shape[2:]))
    x = x.reshape(*lead, *x.shape[1:])
    moving = _without_mean(self.norm(x), mask)
    x += self.time(jax.nn.gelu(moving), mask)
    x, _ = self.space(x.reshape(-1, *x.shape[2:]))
    return x.reshape(*lead, *x.shape[1:])


def _without_mean(x, mask):
  """[B, T, ...] minus the mean over the real frames of each clip."""
  total = only_real(x, mask).sum(1, keepdims=True, dtype=jnp.float32)
  count = x.shape[1]
  if mask is not None:
    count = jnp.maximum(mask.sum(1), 1).reshape(-1, *[1] * (x.ndim - 1))
  return x - (total / count).astype(x.dtype)


def weight_hash(params: dict) -> str:
  """Returns the SHA-256 of weights, as 64 hexadecimal digits.

  Of every array, in the order of their names: the name, as
  "stages/0/time/linear/kernel", dtype, shape and little-endian values.

  Args:
    params: nested dict of arrays, however its keys are ordered.
  """
  leaves = jax.tree_util.tree_flatten_with_path(params)[0]
  named = {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
    for path, leaf in leaves
  }
  digest = hashlib.sha256()
  for name, value in sorted(named.items()):
    digest.update(f"{name} {value.dtype.name} {list(value.shape)}\n".encode())
    digest.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
  return digest.hexdigest()


def _frame_tokens(features, mask):
  """The mean over the cells of each frame, as Tokens."""
  batch, frames, rows, columns, _ = features.shape
  if mask is None:
    mask = jnp.ones((batch, frames), bool)
  time = (jnp.arange(frames) + 0.5) / frames
  middle = jnp.full(frames, 0.5)
  positions = jnp.stack([time, middle, middle], axis=-1)  # [T, 3]
  return Tokens(
    features=features.mean((2, 3)),
    mask=mask,
    positions=jnp.where(mask[..., None], positions, 0),
    size=jnp.where(mask, float(rows * columns), 0.0),
  )
