"""Clips on a fixed grid: orders of tokens, exact masks and their density."""
