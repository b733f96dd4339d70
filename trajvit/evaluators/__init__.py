"""Evaluators: (predict, variables) -> metrics."""

from trajvit.evaluators.cost import Cost
from trajvit.evaluators.retrieval import Retrieval
from trajvit.table import Table

EVALUATORS = Table("evaluator", {"cost": Cost, "retrieval": Retrieval})
