"""Benchmarks: the files that people already have, in their released layout."""
