"""What every reducer is."""

from flax import nnx

from trajvit.layers.last_block import LastBlock
from trajvit.types import Tokens


class Reducer(nnx.Module):
  """Tokens -> fewer Tokens, between the stages of an encoder or at an end.

  A subclass is called as `(tokens, *, key=None)`, or with `needs_block` as
  `(tokens, *, block, key=None)`. It gets clips, never packed rows; real tokens
  are anywhere, protected ones are kept. K slots come out, a static number.
  """

  # Whether it reads keys, attention or updates of the block before it. The
  # encoder computes none of them unless asked.
  needs_block = False

  def __call__(
    self, tokens: Tokens, *, block: LastBlock | None = None, key=None
  ) -> tuple[Tokens, dict]:
    """Returns K tokens, and aux.

    Args:
      tokens: N tokens a clip; what fills masked slots is not read.
      block: the block that put them out, for those that need it.
      key: given in training.

    Returns:
      Tokens, and aux, in which some names have a meaning: `overflow` [B] int32,
      tokens that were to stay and found no slot; `losses` {name: scalar}, to be
      trained on; `metrics` {name: scalar}, to be logged.
    """
    raise NotImplementedError
