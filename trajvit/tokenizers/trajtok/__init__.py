"""TrajTok: trajectory tokens from pixels alone, learned end to end."""

from trajvit.tokenizers.trajtok.frame_pool import FramePool
from trajvit.tokenizers.trajtok.pooling import SegmentPool
from trajvit.tokenizers.trajtok.segmenter import (
  Segmentation,
  Segmenter,
  build_segmenter,
)
from trajvit.tokenizers.trajtok.tokenizer import (
  POOLS,
  SegmentTokenizer,
  trajtok,
)

__all__ = [
  "POOLS",
  "FramePool",
  "SegmentPool",
  "SegmentTokenizer",
  "Segmentation",
  "Segmenter",
  "build_segmenter",
  "trajtok",
]
