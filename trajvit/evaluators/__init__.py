"""Evaluators: (predict, variables) -> metrics."""
