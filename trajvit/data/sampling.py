"""Which frames of a video become a clip: pure functions of numbers.

Every sampler is `(num_frames, frames, rng, place) -> [T] int64`, ascending
indices in [0, num_frames). A video of fewer frames than T fills all T by
repeating frames in order, spread evenly, whatever the sampler: 3 frames for
T = 7 give 0 0 0 1 1 2 2. `rng=None` gives the view of evaluation, without
chance: what the sampler would draw is then at `place` in [0, 1] of its range,
in the middle if that is None.
"""

import numpy as np

from trajvit.table import Table


def middle(
  num_frames: int,
  frames: int,
  rng: np.random.Generator | None = None,
  place: float | None = None,
) -> np.ndarray:
  """The middle frame of each of T intervals, the choice of TrajViT."""
  del rng
  if _check(num_frames, frames):
    return _repeated(num_frames, frames)
  edges = _edges(num_frames, frames)
  return edges[:-1] + _at(place, np.diff(edges))


def random_segment(
  num_frames: int,
  frames: int,
  rng: np.random.Generator | None = None,
  place: float | None = None,
) -> np.ndarray:
  """A random frame of each of T intervals; the middle ones without `rng`.

  Every frame of an interval is as likely, its last one included; the code of
  TrajViT leaves that one out, and then has no choice in short videos.
  """
  if rng is None:
    return middle(num_frames, frames, place=place)
  if _check(num_frames, frames):
    return _repeated(num_frames, frames)
  edges = _edges(num_frames, frames)
  return rng.integers(edges[:-1], edges[1:])


def uniform(
  num_frames: int,
  frames: int,
  rng: np.random.Generator | None = None,
  place: float | None = None,
) -> np.ndarray:
  """Evenly spaced frames, from the very first to the very last.

  Raises:
    ValueError: a count below 1, or a `place`, of which there is no choice.
  """
  del rng
  if place is not None:
    raise ValueError(
      "the sampler uniform takes all of a video: it has one view in time"
    )
  if _check(num_frames, frames):
    return _repeated(num_frames, frames)
  return np.round(np.linspace(0, num_frames - 1, frames)).astype(np.int64)


def strided(
  num_frames: int,
  frames: int,
  rng: np.random.Generator | None = None,
  place: float | None = None,
  stride: int | None = None,
) -> np.ndarray:
  """T frames at one stride, started at random, or centred without `rng`.

  Args:
    num_frames: frames of the video.
    frames: T.
    rng: draws the start.
    place: of the start, without `rng`.
    stride: the largest that fits if None; a larger one than fits is cut down
      to that, so that a short video gives a clip all the same.

  Returns:
    [T] int64.

  Raises:
    ValueError: a count or the stride is below 1.
  """
  if stride is not None and stride < 1:
    raise ValueError(f"stride must be at least 1, got {stride}")
  if _check(num_frames, frames):
    return _repeated(num_frames, frames)
  largest = (num_frames - 1) // max(frames - 1, 1) or 1
  stride = min(stride or largest, largest)
  starts = num_frames - stride * (frames - 1)
  start = _at(place, starts) if rng is None else rng.integers(starts)
  return start + stride * np.arange(frames)


SAMPLERS = Table(
  "sampler",
  {
    "middle": middle,
    "random_segment": random_segment,
    "uniform": uniform,
    "strided": strided,
  },
)


def _at(place, count):
  """Which of so many choices stands at `place`; the middle one for None."""
  if place is None:
    return (count - 1) // 2
  return np.round((count - 1) * place).astype(np.int64)


def _edges(num_frames, frames) -> np.ndarray:
  """The T + 1 edges of T nearly equal intervals: [e_i, e_{i+1})."""
  return np.floor(np.linspace(0, num_frames, frames + 1)).astype(np.int64)


def _repeated(num_frames, frames) -> np.ndarray:
  """All frames of a short video in order, as often as it takes to fill T."""
  return np.arange(frames) * num_frames // frames


def _check(num_frames, frames) -> bool:
  """Whether frames must be repeated; refuses counts that mean nothing."""
  if num_frames < 1 or frames < 1:
    raise ValueError(
      f"a clip needs at least 1 frame from at least 1, "
      f"got {frames} from {num_frames}"
    )
  return num_frames < frames
