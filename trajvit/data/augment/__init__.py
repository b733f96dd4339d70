"""Augmentations: joint over frames, times, tracks and captions of a clip.

`Augment(clip)` is built of `clip.augment` and called by every source; what it
draws comes from the generator that the loader makes for a position. The clips
of a batch are then mixed with one another by `mix_examples`.
"""

from trajvit.data.augment.footage import Footage
from trajvit.data.augment.mix import Mixing, mix_examples
from trajvit.data.augment.pipeline import AUGMENTATIONS, Augment

__all__ = ["AUGMENTATIONS", "Augment", "Footage", "Mixing", "mix_examples"]
