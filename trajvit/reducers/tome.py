"""ToMe: the most similar pairs of tokens become their means."""

from trajvit.layers.last_block import LastBlock
from trajvit.layers.reducer import Reducer
from trajvit.ops.bipartite import ORDERS
from trajvit.ops.matching_rounds import merge_to_fit
from trajvit.types import Tokens


class ToMe(Reducer):
  """Merges the N - k tokens whose keys are most like those of another.

  Tokens alternate between two sets, each of the first finds the one of the
  second that has the most similar keys in the block before, and the best pairs
  become their mean by size. Meant for an encoder with `proportional` attention.

  Source: ToMe, arXiv:2210.09461. There r tokens merge inside every block,
  between attention and perceptron; here N - k merge between two stages. One
  matching can only halve the tokens, so that a smaller k takes several, in
  which keys are merged along. Tokens stay in their order; ToMe's code puts
  those of the second set last, which changes who meets whom afterwards: that is
  `order`. A clip with padding only merges what does not fit k.

  Args:
    k: slots afterwards, protected tokens among them.
    protected: class and register tokens of a clip, at the most; matters only
      for the number of rounds.
    order: "slots", or ToMe's "sets" with a class token and "similarity"
      without, see `ops.bipartite.plan_pairs`.

  Raises:
    ValueError: the order is unknown.
  """

  needs_block = True

  def __init__(self, *, k: int, protected: int = 1, order: str = "slots"):
    if order not in ORDERS:
      raise ValueError(f"order must be one of {ORDERS}, got {order!r}")
    self.k, self.protected, self.order = k, protected, order

  def __call__(
    self, tokens: Tokens, *, block: LastBlock, key=None
  ) -> tuple[Tokens, dict]:
    """Returns min(k, real) tokens a clip, in k slots; sizes add up.

    Aux: `overflow` [B] int32, tokens lost as nothing was left to join.

    Raises:
      ValueError: k is not in [protected + 1, N].
    """
    del key
    merged, overflow = merge_to_fit(
      tokens,
      block.keys(),
      self.k,
      protected=self.protected,
      order=self.order,
    )
    return merged, {"overflow": overflow}
