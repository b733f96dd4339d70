"""Objectives: (outputs, batch) -> (loss, metrics). `OBJECTIVES` names them."""

from trajvit.objectives.classification import classification
from trajvit.objectives.contrastive import contrastive, sigmoid
from trajvit.objectives.gate import gate_distillation
from trajvit.objectives.grouping import grouping
from trajvit.objectives.reduction import reduction
from trajvit.objectives.weighted import OBJECTIVES, build_objectives

__all__ = [
  "OBJECTIVES",
  "build_objectives",
  "classification",
  "contrastive",
  "gate_distillation",
  "grouping",
  "reduction",
  "sigmoid",
]
