"""Benchmarks: the files that people already have, in their released layout."""

from trajvit.table import Table

BENCHMARKS = Table("benchmark", {})
