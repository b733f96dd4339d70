"""What pixels mean: their normalisations, and when they have changed.

The host plans by the same rule as the device decides by, so it stands here, in
whole numbers: the levels 0 to 255 of a frame are integers, sums of them are
exact in whatever order, and both sides come to the same count of tokens.
"""

import dataclasses
import math
from typing import NamedTuple

# Mean and standard deviation of a channel, for frames in [0, 1].
NORMALIZATIONS = {
  "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
  "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
  # As it is: what TiTok's released weights read.
  "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
  # What CLIP was trained on (arXiv:2103.00020), as its release has it.
  "clip": (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
  ),
}
LEVELS = 255
# The largest weight of a channel: deviations are exact to a part in a thousand.
LARGEST_WEIGHT = 1024


def known_normalization(name: str) -> str:
  """Returns `name`.

  Raises:
    ValueError: it is not in NORMALIZATIONS.
  """
  if name not in NORMALIZATIONS:
    raise ValueError(
      f"normalization must be one of {', '.join(NORMALIZATIONS)}, got {name!r}"
    )
  return name


class Weights(NamedTuple):
  """What a level of each channel counts in a sum over a patch.

  Attributes:
    channels: a whole number for each channel.
    unit: the sum that a mean difference of 1 in normalised pixels makes.
  """

  channels: tuple[int, int, int]
  unit: float


def channel_weights(patch: int, normalization: str) -> Weights:
  """Returns the weights by which sums of levels measure normalised pixels.

  They are as 1 / deviation, rounded, the largest of them 1 where all channels
  have the same deviation (nothing is rounded then), else 1024, or as much as
  sums in 32 bits allow.

  Args:
    patch: pixels on a side of a patch.
    normalization: a name in NORMALIZATIONS.
  """
  deviation = NORMALIZATIONS[known_normalization(normalization)][1]
  least = min(deviation)
  room = (2**31 - 2) // (3 * LEVELS * patch * patch)
  largest = min(LARGEST_WEIGHT, room) if len(set(deviation)) > 1 else 1
  return Weights(
    tuple(round(largest * least / x) for x in deviation),
    LEVELS * least * largest * 3 * patch * patch,
  )


@dataclasses.dataclass(frozen=True)
class ChangeRule:
  """When a tubelet differs from the one before it, in whole numbers.

  It does if, of its last frame and the first frame of the one before, the mean
  over channels and pixels of |difference| is above the threshold. Source: RLT,
  arXiv:2411.05222. Here the levels that the normalised pixels stand for are
  compared: the sum of |difference| by channel, weighted, with `limit`.

  Attributes:
    patch: (frames, rows, columns) of a tubelet, as many rows as columns.
    threshold: in units of normalised pixels, at least 0; as much is no change.
    normalization: a name in NORMALIZATIONS.
  """

  patch: tuple[int, int, int]
  threshold: float = 0.1
  normalization: str = "symmetric"

  def __post_init__(self):
    check_patch(self.patch)
    if self.threshold is None or not self.threshold >= 0:
      raise ValueError(f"threshold must be 0 or more, got {self.threshold}")
    known_normalization(self.normalization)

  @property
  def weights(self) -> Weights:
    """See `channel_weights`."""
    return channel_weights(self.patch[1], self.normalization)

  @property
  def limit(self) -> int:
    """The largest weighted sum that is no change."""
    # 0.1 is not a binary fraction: a product that is meant to be whole is.
    limit = math.floor(round(self.threshold * self.weights.unit, 6))
    return min(limit, 2**31 - 2)


def check_patch(patch: tuple[int, int, int]) -> None:
  """Raises ValueError unless `patch` is (frames, side, side), all positive."""
  whole = len(patch) == 3 and all(isinstance(x, int) for x in patch)
  if not whole or min(patch) < 1 or patch[1] != patch[2]:
    raise ValueError(
      f"patch must be (frames, side, side), all at least 1, got {tuple(patch)}"
    )
