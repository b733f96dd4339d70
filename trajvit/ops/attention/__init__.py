"""Attention: one entry, the masks it takes, and its implementations.

`entry` is what encoders call. `pattern` says which tokens may meet, and
`block_mask` turns that into lists of tiles. `sparse` differentiates through
them over the backends: `xla`, `pallas_tpu`, `pallas_gpu`. `reference` is what
all are tested by, and `automatic` picks for calls without lists.

`patterns` are those a config can name, `grids` makes their exact masks,
`dynamic` chooses from the data, `merge` and `union` join passes over disjoint
keys, and `devices` runs all of it on a mesh.
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
