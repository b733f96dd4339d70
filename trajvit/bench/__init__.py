"""Benchmarks: what a part costs here, against what it replaces."""
