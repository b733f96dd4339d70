"""An attentive probe: what can be read from features of a frozen encoder."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.attentive_pool import AttentivePool
from trajvit.layers.linear import Linear
from trajvit.types import Batch, Clip, Tokens


class Probe(nnx.Module):
  """Features, an adapter, attentive pooling and a linear classifier.

  No gradient reaches features that are frozen. That alone does not keep them as
  they are: weight decay would still shrink them, so that a config freezes them
  too, `optimizer.frozen = ("^features/",)`, and what of the adapter is not
  trained, `"^adapter/regions/segmenter/"`.

  Args:
    features: clip -> features and mask, see `models.features`; has `width`.
    adapter: features, mask and clip -> Tokens, see `models.traj_adapter`.
    num_classes: C.
    num_heads: K of the pooling.
    frozen: whether no gradient reaches the features; else they are fine-tuned.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self,
    features: nnx.Module,
    adapter: nnx.Module,
    *,
    num_classes: int,
    num_heads: int = 8,
    frozen: bool = True,
    dtype=jnp.float32,
    rngs: nnx.Rngs,
  ):
    if num_classes < 1:
      raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    self.features, self.adapter, self.frozen = features, adapter, frozen
    self.pool = AttentivePool(
      features.width, num_heads=num_heads, dtype=dtype, rngs=rngs
    )
    self.classifier = Linear(
      features.width, num_classes, init="trunc_normal", rngs=rngs
    )

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the logits of the classes of a batch.

    Args:
      batch: `clip.frames` uint8, and tracks if the adapter takes them.
      key: unused.

    Returns:
      logits: [B, C] float32.
      video_embedding: [B, D] float32, which the classifier reads.
      tokens: the Tokens of the adapter, which are pooled.
      aux: {"tokenizer": ...}, what the adapter tells.
    """
    del key
    tokens, aux = self._tokens(batch.clip)
    pooled = self.pool(tokens.features, tokens.mask).astype(jnp.float32)
    return {
      "logits": self.classifier(pooled),
      "video_embedding": pooled,
      "tokens": tokens,
      "aux": {"tokenizer": aux},
    }

  def _tokens(self, clip: Clip) -> tuple[Tokens, dict]:
    features, mask = self.features(clip)
    if self.frozen:
      features = jax.lax.stop_gradient(features)
    return self.adapter(features, mask, clip)
