"""Data: videos, images or sprites in, batches of NumPy arrays out.

A source gives clips one by one (`example.Source`), a loader reads it in
threads and in an order that depends on (seed, step) alone. `SOURCES` and
`TEXT_TOKENIZERS` are what a config can name.
"""

from trajvit.data.batching import BatchInfo
from trajvit.data.build import SOURCES, build_loader, data_shapes
from trajvit.data.example import BrokenClip, ClipSpec, Example, Source
from trajvit.data.failures import TooManyBrokenClips
from trajvit.data.loader import Loader
from trajvit.data.text import TEXT_TOKENIZERS

__all__ = [
  "SOURCES",
  "TEXT_TOKENIZERS",
  "BatchInfo",
  "BrokenClip",
  "ClipSpec",
  "Example",
  "Loader",
  "Source",
  "TooManyBrokenClips",
  "build_loader",
  "data_shapes",
]
