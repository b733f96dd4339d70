"""From a model and objectives to a training step, its state and its files."""
