"""What an augmentation sees of a clip, and gives back."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True)
class Footage:
  """All parts of a clip that an augmentation may change, in step.

  Attributes:
    frames: [T, H, W, 3] uint8 RGB.
    times: [T] float32, seconds from the start of the video.
    tracks: [T, h, w] int32, the track of each cell or -1; None if unknown.
    captions: all that the clip has, perhaps none.
  """

  frames: np.ndarray
  times: np.ndarray
  tracks: np.ndarray | None = None
  captions: tuple[str, ...] = ()


class Step(Protocol):
  """An augmentation of clips that have their final size."""

  def __call__(self, footage: Footage, rng: np.random.Generator) -> Footage:
    """Returns new footage of the same shapes; `footage` is left as it was.

    Everything random comes from `rng`, drawn once for all frames. A label of
    `tracks` may lose all its cells, and none is renumbered.
    """


def map_frames(
  frames: np.ndarray, change: Callable[[Image.Image], Image.Image]
) -> np.ndarray:
  """Returns what `change` makes of each of frames [T, H, W, 3] uint8.

  One after the other: a frame stays in the cache of a core, and pictures as
  small as this are not given back to the operating system each time.
  """
  changed = np.empty_like(frames)
  for out, frame in zip(changed, frames, strict=True):
    out[...] = change(Image.fromarray(frame))
  return changed
