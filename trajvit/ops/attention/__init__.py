"""Attention: one entry, the masks it takes, and its implementations.

`entry` is what encoders call. `pattern` says which tokens may meet,
`block_mask` turns that into lists of tiles, `sparse` differentiates through
them over the backends, and `reference` is what all are tested by. `merge` and
`union` join passes; `sharded` and `ring` run them on several devices.
"""

from trajvit.ops.attention.block_mask import (
  BlockMask,
  from_classes,
  from_pattern,
)
from trajvit.ops.attention.coordinates import Coordinates, sequence
from trajvit.ops.attention.entry import (
  IMPLEMENTATIONS,
  attend,
  attention,
  use_implementation,
)
from trajvit.ops.attention.mask import AttentionMask
from trajvit.ops.attention.merge import merge
from trajvit.ops.attention.sparse import Attended
from trajvit.ops.attention.union import union_attention

__all__ = [
  "IMPLEMENTATIONS",
  "Attended",
  "AttentionMask",
  "BlockMask",
  "Coordinates",
  "attend",
  "attention",
  "from_classes",
  "from_pattern",
  "merge",
  "sequence",
  "union_attention",
  "use_implementation",
]
