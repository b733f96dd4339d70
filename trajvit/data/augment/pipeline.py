"""The augmentation of a run: a view, then steps at the clip's final size."""

import dataclasses
from collections.abc import Callable

import numpy as np

from trajvit.data import transforms
from trajvit.data.augment.color import Blur, Color
from trajvit.data.augment.footage import Footage
from trajvit.data.augment.frame_drop import FrameDrop
from trajvit.data.augment.rand_augment import RandAugment
from trajvit.data.augment.tube_mask import TubeMask
from trajvit.data.augment.views import CenterCrop, CropFlip, ViewStep, Whole
from trajvit.data.example import ClipSpec
from trajvit.table import Table

AUGMENTATIONS = Table(
  "augmentation",
  {
    "blur": Blur,
    "center_crop": CenterCrop,
    "color": Color,
    "crop_flip": CropFlip,
    "frame_drop": FrameDrop,
    "none": Whole,
    "rand_augment": RandAugment,
    "tube_mask": TubeMask,
  },
)


class Augment:
  """What training does to every clip of a run; the one entry for all sources.

  In evaluation nothing is drawn: the clip is seen through the view as it is
  without chance, and every other step is left out.

  Attributes:
    view_name: the name of the view, see `AUGMENTATIONS`.
  """

  def __init__(self, clip: ClipSpec):
    """Builds the steps that `clip.augment` names.

    Raises:
      ValueError: an unknown name, a key or value that a step does not take, or
        a view that is not the first step.
    """
    specs = clip.augment
    if isinstance(specs, str):
      specs = ({"name": specs},)
    specs = [dict(spec) for spec in specs]
    steps = [AUGMENTATIONS.build(spec, clip=clip) for spec in specs]
    self._clip, self._view, self.view_name = clip, Whole(), "none"
    if steps and isinstance(steps[0], ViewStep):
      self._view, self.view_name = steps.pop(0), specs[0]["name"]
    for step in steps:
      if isinstance(step, ViewStep):
        raise ValueError(
          "data.clip.augment has one view, which comes first, got "
          f"{', '.join(spec['name'] for spec in specs)}"
        )
    self._steps = tuple(steps)

  def __call__(
    self,
    footage: Footage,
    rng: np.random.Generator | None,
    find_tracks: Callable[[np.ndarray], np.ndarray] | None = None,
  ) -> Footage:
    """Returns the clip as a model is to see it.

    Args:
      footage: as decoded; tracks have any resolution.
      rng: draws everything random, once for all frames; None is evaluation.
      find_tracks: makes the tracks [T, track_grid, track_grid] of frames
        [T, size, size, 3], where `footage` has none. It sees what the view
        shows, before any further step.

    Returns:
      Frames [T, size, size, 3] and tracks [T, track_grid, track_grid] or None.
      Labels are those of tracks that the view shows, 0..n-1; further steps
      may have hidden some of them.
    """
    height, width = footage.frames.shape[1:3]
    view, captions = self._view.view(height, width, footage.captions, rng)
    if rng is None and self._clip.view[1] is not None:
      view = transforms.square_at(height, width, self._clip.view[1])
    frames, tracks = transforms.apply_view(
      view,
      footage.frames,
      footage.tracks,
      size=self._clip.size,
      track_grid=self._clip.track_grid,
    )
    if tracks is None and find_tracks is not None:
      tracks = find_tracks(frames)
    footage = dataclasses.replace(
      footage, frames=frames, tracks=tracks, captions=captions
    )
    if rng is not None:
      for step in self._steps:
        footage = step(footage, rng)
    return footage
