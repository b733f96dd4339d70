"""Runs: each file has a `get_config(arg)` that returns plain values."""
