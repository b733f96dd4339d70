"""Evaluators: (predict, variables) -> metrics."""

from trajvit.evaluators.adaptive_length import AdaptiveLength
from trajvit.evaluators.attentive_probe import AttentiveProbe
from trajvit.evaluators.classification import Classification
from trajvit.evaluators.collapse import Collapse
from trajvit.evaluators.cost import Cost
from trajvit.evaluators.frechet import FrechetDistance
from trajvit.evaluators.grouping import Grouping
from trajvit.evaluators.knn import NearestNeighbours
from trajvit.evaluators.linear_probe import LinearProbe
from trajvit.evaluators.multilabel import MultiLabel
from trajvit.evaluators.reconstruction import Reconstruction
from trajvit.evaluators.retrieval import Retrieval
from trajvit.evaluators.time_probe import TimeProbe
from trajvit.evaluators.zero_shot import ZeroShot
from trajvit.table import Table

EVALUATORS = Table(
  "evaluator",
  {
    "adaptive_length": AdaptiveLength,
    "attentive_probe": AttentiveProbe,
    "classification": Classification,
    "collapse": Collapse,
    "cost": Cost,
    "frechet": FrechetDistance,
    "grouping": Grouping,
    "knn": NearestNeighbours,
    "linear_probe": LinearProbe,
    "multilabel": MultiLabel,
    "reconstruction": Reconstruction,
    "retrieval": Retrieval,
    "time_probe": TimeProbe,
    "zero_shot": ZeroShot,
  },
)
