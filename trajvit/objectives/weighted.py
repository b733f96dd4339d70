"""The weighted sum of the objectives that a config names."""

import functools
from collections.abc import Callable

import jax

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
from trajvit.table import Table, check_arguments
from trajvit.types import Batch

OBJECTIVES = Table(
  "objective",
  {
    "classification": classification,
    "contrastive": contrastive,
    "sigmoid": sigmoid,
    "gate_distillation": gate_distillation,
    "grouping": grouping,
    "reduction": reduction,
    "reconstruction": reconstruction,
    "quantization": quantization,
    "perceptual": perceptual,
    "alignment": alignment,
    "adversarial": adversarial,
    "prior": prior,
  },
)


def build_objectives(spec: dict) -> Callable:
  """Returns the objective `(outputs, batch) -> (loss, metrics)` of a config.

  Args:
    spec: {name in OBJECTIVES: {"weight": float, **options}}.

  Returns:
    A function; its loss is the weighted sum, and its metrics are those of every
    objective as "<name>/<metric>", and "<name>/loss" before weighting.

  Raises:
    ValueError: no objective, an unknown one, or an option it does not take.
  """
  if not spec:
    raise ValueError(f"objectives must name one of {', '.join(OBJECTIVES)}")
  parts = []
  for name, options in spec.items():
    options = dict(options)
    weight = options.pop("weight", 1.0)
    objective = OBJECTIVES[name]
    check_arguments(f"objective {name!r}", objective, options)
    parts.append((name, weight, functools.partial(objective, **options)))

  def objectives(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
    total, metrics = 0.0, {}
    for name, weight, objective in parts:
      loss, measured = objective(outputs, batch)
      total += weight * loss
      metrics[f"{name}/loss"] = loss
      metrics |= {f"{name}/{key}": value for key, value in measured.items()}
    return total, metrics

  return objectives
