"""Objectives: (outputs, batch) -> (loss, metrics). `OBJECTIVES` names them."""

from trajvit.objectives.contrastive import contrastive, sigmoid
from trajvit.objectives.gate import gate_distillation
from trajvit.objectives.weighted import OBJECTIVES, build_objectives

__all__ = [
  "OBJECTIVES",
  "build_objectives",
  "contrastive",
  "gate_distillation",
  "sigmoid",
]
