"""VTM: tokens merge into those that are learned to be salient."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.norm import LayerNorm
from trajvit.layers.reducer import Reducer
from trajvit.ops.bipartite import Split, match, plan_pairs
from trajvit.ops.merging import merge
from trajvit.ops.selection import highest
from trajvit.ops.tokens import zero_masked
from trajvit.types import Tokens


class VTM(Reducer):
  """Merges every token into the most similar of the k most salient ones.

  Saliency s is a linear map of the normalised token, through a sigmoid. The
  tokens of highest s are targets, and each other one joins the target that is
  most like it. The mean weighs a token by size * exp(s), and through that the
  saliency is learned: a token that is of use in the mean gets more of it.

  Source: learnable video token merging (VTM), arXiv:2410.23782. There an
  auxiliary attention that is biased by s carries the gradient in training;
  here the weights alone do, so that training needs no second path.

  Args:
    k: slots afterwards, protected tokens among them.
    width: D.
    rngs: holds the key of the initial values.
  """

  def __init__(self, *, k: int, width: int, rngs: nnx.Rngs):
    self.k = k
    self.norm = LayerNorm(width)
    self.score = Linear(width, 1, rngs=rngs)

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns min(k, real) tokens a clip, in k slots, in their old order.

    Sizes add up and positions are means by size; only features are weighed by
    saliency as well.

    Aux: `saliency` [B, N] float32 in (0, 1), 0 where masked; `overflow` [B]
    int32, tokens lost in a clip whose slots are all of protected tokens.

    Raises:
      ValueError: k is not in [1, N].
    """
    del key
    tokens = zero_masked(tokens)
    saliency = jax.nn.sigmoid(self.score(self.norm(tokens.features))[..., 0])
    merging = join_targets(tokens, saliency, self.k)
    # By size, and then features once more, with a gradient to the saliency.
    merged = merge(tokens, merging)
    weight = tokens.size * jnp.exp(saliency)
    features = merge(tokens, merging, weight=weight).features
    merged = dataclasses.replace(merged, features=features)
    aux = {"saliency": jnp.where(tokens.mask, saliency, 0)}
    return merged, aux | {"overflow": merging.overflow}


def join_targets(tokens: Tokens, score: jax.Array, k: int):
  """Returns the plan by which all tokens join the k of highest score.

  Args:
    tokens: N tokens a clip; protected ones are among the k and joined by none.
    score: [B, N]; among equals the lower slot is a target.
    k: slots, in [1, N].

  Returns:
    `ops.merging.Merging`; tokens join the target of the most similar features.
  """
  mask, protected = tokens.mask, tokens.protected
  count = mask.shape[1]
  targets = highest(score, k, mask=mask, protected=protected)
  chosen = (targets[:, :, None] == jnp.arange(count)).any(1)  # [B, N]
  others = jnp.argsort(chosen, axis=1, stable=True)[:, : count - k]
  split = Split(others.astype(jnp.int32), targets)
  known = dict(mask=mask, protected=protected)
  pairs = match(tokens.features, split, **known)
  return plan_pairs(pairs, count - k, slots=k, **known)
