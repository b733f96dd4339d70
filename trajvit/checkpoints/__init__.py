"""Checkpoints after the run: what is in them, other forms, and their mean.

On a CPU, and without the model or the mesh that they come from.
"""
