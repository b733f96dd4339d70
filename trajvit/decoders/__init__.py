"""Decoders: Tokens -> frames. `DECODERS` is what a config can name."""

from trajvit.decoders.coordinate import CoordinateDecoder
from trajvit.decoders.flow import FlowDecoder
from trajvit.decoders.pixel import PixelDecoder
from trajvit.table import Table

DECODERS = Table(
  "decoder",
  {
    "coordinate": CoordinateDecoder,
    "flow": FlowDecoder,
    "pixel": PixelDecoder,
  },
)
