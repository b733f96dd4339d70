"""Tokenizers: Clip -> Tokens. `TOKENIZERS` is what a config can name."""

from trajvit.table import Table
from trajvit.tokenizers.dart import DartTokenizer
from trajvit.tokenizers.object_tokens import ObjectTokenizer
from trajvit.tokenizers.semantic import SemanticTokenizer
from trajvit.tokenizers.slots import SlotTokenizer
from trajvit.tokenizers.subobject import SubobjectTokenizer
from trajvit.tokenizers.trajectory import TrajectoryTokenizer
from trajvit.tokenizers.trajectory_light import TrajectoryLightTokenizer
from trajvit.tokenizers.trajtok import trajtok
from trajvit.tokenizers.tubelet import TubeletTokenizer

TOKENIZERS = Table(
  "tokenizer",
  {
    "dart": DartTokenizer,
    "object_tokens": ObjectTokenizer,
    "semantic": SemanticTokenizer,
    "slots": SlotTokenizer,
    "subobject": SubobjectTokenizer,
    "trajectory": TrajectoryTokenizer,
    "trajectory_light": TrajectoryLightTokenizer,
    "trajtok": trajtok,
    "tubelet": TubeletTokenizer,
  },
)
