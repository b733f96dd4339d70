"""Objectives: (outputs, batch) -> (loss, metrics). `OBJECTIVES` names them."""

from trajvit.objectives.adversarial import adversarial
from trajvit.objectives.alignment import alignment
from trajvit.objectives.classification import classification
from trajvit.objectives.contrastive import contrastive, sigmoid
from trajvit.objectives.gate import gate_distillation
from trajvit.objectives.grouping import grouping
from trajvit.objectives.prior import prior
from trajvit.objectives.reconstruction import (
  perceptual,
  quantization,
  reconstruction,
)
from trajvit.objectives.reduction import reduction
from trajvit.objectives.weighted import OBJECTIVES, build_objectives

__all__ = [
  "OBJECTIVES",
  "adversarial",
  "alignment",
  "build_objectives",
  "classification",
  "contrastive",
  "gate_distillation",
  "grouping",
  "perceptual",
  "prior",
  "quantization",
  "reconstruction",
  "reduction",
  "sigmoid",
]
