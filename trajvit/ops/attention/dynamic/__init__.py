"""Attention that is decided by the data: which tiles, tokens or clusters."""
