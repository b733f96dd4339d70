"""Models: what a checkpoint is. `MODELS` is what a config can name."""

from trajvit.models.build import MODELS, build_model

__all__ = ["MODELS", "build_model"]
