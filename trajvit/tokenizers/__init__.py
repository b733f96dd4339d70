"""Tokenizers: Clip -> Tokens. `TOKENIZERS` is what a config can name."""

from trajvit.table import Table
from trajvit.tokenizers.trajectory import TrajectoryTokenizer
from trajvit.tokenizers.trajectory_light import TrajectoryLightTokenizer
from trajvit.tokenizers.tubelet import TubeletTokenizer

TOKENIZERS = Table(
  "tokenizer",
  {
    "trajectory": TrajectoryTokenizer,
    "trajectory_light": TrajectoryLightTokenizer,
    "tubelet": TubeletTokenizer,
  },
)
