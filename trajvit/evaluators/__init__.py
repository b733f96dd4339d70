"""Evaluators: (predict, variables) -> metrics."""

from trajvit.evaluators.cost import Cost
from trajvit.evaluators.grouping import Grouping
from trajvit.evaluators.retrieval import Retrieval
from trajvit.table import Table

EVALUATORS = Table(
  "evaluator", {"cost": Cost, "grouping": Grouping, "retrieval": Retrieval}
)
