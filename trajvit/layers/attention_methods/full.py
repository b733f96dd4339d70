"""Every token attends to all that the mask allows."""

import dataclasses

from trajvit.ops.attention import attention


@dataclasses.dataclass(frozen=True)
class Full:
  """Attention over everything that the mask allows."""

  shared = False

  def __call__(self, query, key, value, context):
    """See the package; aux is {}."""
    options = dict(mask=context.mask, bias=context.bias)
    return attention(query, key, value, **options), {}
