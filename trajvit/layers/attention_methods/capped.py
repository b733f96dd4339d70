"""Full attention whose logits cannot grow beyond a bound."""

import dataclasses

from trajvit.ops.attention import AttentionMask
from trajvit.ops.attention.reference import reference


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capped:
  """Attention over everything, by cap * tanh(logits / cap).

  Source: Gemma 2, arXiv:2408.00118, section 2; VideoPrism, arXiv:2402.13217,
  was trained so. It is written in plain JAX: all N x N logits are in memory.

  Attributes:
    cap: what no logit is above, nor its negative below.
  """

  cap: float = 50.0
  shared = False

  def __post_init__(self):
    if not self.cap > 0:
      raise ValueError(f"cap must be above 0, got {self.cap}")

  def __call__(self, query, key, value, context):
    """See the package; aux is {}."""
    done = reference(
      query,
      key,
      value,
      mask=AttentionMask() if context.mask is None else context.mask,
      bias=context.bias,
      scale=query.shape[-1] ** -0.5,
      cap=self.cap,
    )
    return done.out, {}
