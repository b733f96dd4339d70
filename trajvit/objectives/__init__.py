"""Objectives: (outputs, batch) -> (loss, metrics). `OBJECTIVES` names them."""

from trajvit.objectives.contrastive import contrastive, sigmoid
from trajvit.objectives.weighted import OBJECTIVES, build_objectives

__all__ = ["OBJECTIVES", "build_objectives", "contrastive", "sigmoid"]
