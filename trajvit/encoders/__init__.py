"""Encoders: Tokens -> Tokens, and towers: Text or frames -> features.

`ENCODERS`, `TEXT_ENCODERS` and `VISION_ENCODERS` are what a config can name.
"""

from trajvit.encoders.convnext import ConvNeXt
from trajvit.encoders.factorized_vit import FactorizedViT
from trajvit.encoders.lookup_vit import LookupViT
from trajvit.encoders.text import BertEncoder, TextTransformer
from trajvit.encoders.token_learner_vit import TokenLearnerViT
from trajvit.encoders.videoprism import VideoPrism
from trajvit.encoders.videoprism_text import VideoPrismText
from trajvit.encoders.vision import VisionTransformer
from trajvit.encoders.vit import ViT
from trajvit.table import Table

ENCODERS = Table(
  "encoder",
  {
    "factorized_vit": FactorizedViT,
    "lookup_vit": LookupViT,
    "token_learner_vit": TokenLearnerViT,
    "vit": ViT,
  },
)

TEXT_ENCODERS = Table(
  "text encoder",
  {
    "bert": BertEncoder,
    "transformer": TextTransformer,
    "videoprism": VideoPrismText,
  },
)

VISION_ENCODERS = Table(
  "vision encoder",
  {"convnext": ConvNeXt, "videoprism": VideoPrism, "vit": VisionTransformer},
)
