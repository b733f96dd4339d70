"""Quantizers that stand alone, of which the others are made."""

from trajvit.quantizers.binary import BSQ, LFQ
from trajvit.quantizers.continuous import KlQuantizer, NoQuantizer
from trajvit.quantizers.fsq import FSQ
from trajvit.quantizers.residual import ResidualVQ
from trajvit.quantizers.vq import VQ, StochasticVQ

PARTS = {
  "bsq": BSQ,
  "fsq": FSQ,
  "kl": KlQuantizer,
  "lfq": LFQ,
  "none": NoQuantizer,
  "residual_vq": ResidualVQ,
  "stochastic_vq": StochasticVQ,
  "vq": VQ,
}
