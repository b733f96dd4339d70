"""Quantizers: vectors -> codes. `QUANTIZERS` is what a config can name."""

from trajvit.quantizers.parts import PARTS
from trajvit.quantizers.product import ChannelSplit, Factorized, Product
from trajvit.quantizers.quantizer import Quantizer
from trajvit.table import Table

__all__ = ["QUANTIZERS", "Quantizer"]

QUANTIZERS = Table(
  "quantizer",
  {
    **PARTS,
    "channel_split": ChannelSplit,
    "factorized": Factorized,
    "product": Product,
  },
)
