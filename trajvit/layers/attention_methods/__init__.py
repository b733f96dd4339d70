"""How a layer attends: `ATTENTIONS` is what a config can name.

A method is built with `num_heads`, `head_dim` and `rngs` on offer. `method(
query, key, value, context) -> (out, aux)` takes and returns [B, N, K, d], and
gives in `aux` what is worth knowing; see `context.Context`. One that chooses
tiles has `select(query, key, context) -> BlockMask`, and `shared`, whether one
choice serves a whole stage.
"""

from trajvit.layers.attention_methods.blasst import Blasst
from trajvit.layers.attention_methods.capped import Capped
from trajvit.layers.attention_methods.full import Full
from trajvit.layers.attention_methods.rectified import Rectified
from trajvit.layers.attention_methods.routing import Routing
from trajvit.layers.attention_methods.seer_gate import SeerGate
from trajvit.layers.attention_methods.selection import (
  TopBlocks,
  TopMass,
  VerticalSlash,
)
from trajvit.layers.attention_methods.token_sparse import TokenSparse
from trajvit.table import Table

ATTENTIONS = Table(
  "attention",
  {
    "full": Full,
    "top_blocks": TopBlocks,
    "top_mass": TopMass,
    "vertical_slash": VerticalSlash,
    "seer_gate": SeerGate,
    "routing": Routing,
    "token_sparse": TokenSparse,
    "rectified": Rectified,
    "blasst": Blasst,
    "capped": Capped,
  },
)
