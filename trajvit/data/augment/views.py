"""The first step of all: which part of the picture a clip shows."""

import abc
import dataclasses

import numpy as np

from trajvit.data import transforms
from trajvit.data.augment.ranges import check_choice, check_range
from trajvit.data.augment.sides import is_sided, swap_sides
from trajvit.data.transforms import View

FLIPS = ("always", "never", "unless_sided", "swap")


class ViewStep(abc.ABC):
  """Chooses a view; the frames and tracks that follow have their final size."""

  @abc.abstractmethod
  def view(
    self,
    height: int,
    width: int,
    captions: tuple[str, ...],
    rng: np.random.Generator | None,
  ) -> tuple[View, tuple[str, ...]]:
    """Returns the view of a picture, and the captions that fit it.

    Args:
      height: of the picture, in pixels.
      width: of the picture, in pixels.
      captions: of the clip, perhaps none.
      rng: draws the view; None gives that of an evaluation.
    """


@dataclasses.dataclass(frozen=True)
class Whole(ViewStep):
  """The whole picture, squeezed into the square."""

  def view(self, height, width, captions, rng):
    """See ViewStep; nothing is drawn."""
    return transforms.whole(height, width, rng), captions


@dataclasses.dataclass(frozen=True)
class CenterCrop(ViewStep):
  """The largest square in the middle."""

  def view(self, height, width, captions, rng):
    """See ViewStep; nothing is drawn."""
    return transforms.center_crop(height, width, rng), captions


@dataclasses.dataclass(frozen=True)
class CropFlip(ViewStep):
  """A random rectangle, mirrored half of the time; all of it in evaluation.

  Attributes:
    scale: the least and largest share of the picture, see
      `transforms.crop_flip`.
    ratio: the least and largest width over height.
    flip: which clips may be mirrored: "always", any; "never", none;
      "unless_sided", those of which no caption says left or right, see
      `sides.is_sided`; "swap", any, and the captions of a mirrored one have
      these words exchanged. What is drawn is the same with all four.
  """

  scale: tuple[float, float] = (0.2, 1.0)
  ratio: tuple[float, float] = (3 / 4, 4 / 3)
  flip: str = "unless_sided"

  def __post_init__(self):
    check_range("crop_flip.scale", self.scale, 1e-6, 1.0)
    check_range("crop_flip.ratio", self.ratio, 1e-6, 1e6)
    check_choice("crop_flip.flip", self.flip, FLIPS)

  def view(self, height, width, captions, rng):
    """See ViewStep."""
    view = transforms.crop_flip(height, width, rng, self.scale, self.ratio)
    if not view.flip:
      return view, captions
    if self.flip == "swap":
      return view, tuple(map(swap_sides, captions))
    if self.flip == "never" or (
      self.flip == "unless_sided" and any(map(is_sided, captions))
    ):
      view = dataclasses.replace(view, flip=False)
    return view, captions
