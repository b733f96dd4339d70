"""The splits of moving sprites: which scenes each of them holds."""

import dataclasses

import numpy as np

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.caption import named_sprites, phrase
from trajvit.data.synthetic.scene import Scene, Streams, draw_scene

# With more, clips of distinct captions would become hard to find.
MAX_DISTINCT = 16384
STREAMS = ("look", "motion", "camera", "render")
# What all cameras of a source can be made to do.
CAMERAS = {"still": vocabulary.STILL_CAMERA, "shake": "shakes"}


@dataclasses.dataclass(frozen=True)
class Split:
  """How the scenes of a split are drawn.

  Attributes:
    family: of random streams; splits of different families share no scene.
    count: default number of clips.
    moving_camera: the chance that the camera moves.
    group: how many consecutive clips share look and camera.
    distinct: whether all clips differ in what is said of their sprites,
      whichever comes first and whatever the camera does.
  """

  family: int
  count: int
  moving_camera: float
  group: int = 1
  distinct: bool = True


# `static` and `moving` are one family: the same scenes under two cameras.
SPLITS = {
  "train": Split(0, 8192, moving_camera=0.5, distinct=False),
  "validation": Split(1, 256, moving_camera=0.5),
  "static": Split(2, 256, moving_camera=0.0),
  "moving": Split(2, 256, moving_camera=1.0),
  "hard": Split(3, 256, moving_camera=0.5, group=8),
}


class SplitScenes:
  """The scenes of a split, a pure function of (split, seed, index)."""

  def __init__(
    self, split: str, count: int | None, seed: int, camera: str | None = None
  ):
    """Checks the arguments, and finds motions of distinct captions.

    Args:
      split: a key of SPLITS.
      count: number of clips; None takes the split's own.
      seed: of all scenes.
      camera: a key of CAMERAS, what the camera does in every scene; None leaves
        that to the split. All else in a scene is the same.

    Raises:
      ValueError: an unknown split or camera, a count that is not positive or
        too large for distinct captions, or a negative seed.
    """
    if split not in SPLITS:
      raise ValueError(
        f"unknown split {split!r} of moving sprites; known: {', '.join(SPLITS)}"
      )
    self.split = SPLITS[split]
    self.seed = seed
    self.count = self.split.count if count is None else count
    limit = MAX_DISTINCT if self.split.distinct else 2**31
    if not 1 <= self.count <= limit:
      raise ValueError(
        f"split {split!r} has between 1 and {limit} clips, got count={count}"
      )
    if seed < 0:
      raise ValueError(f"seed must not be negative, got {seed}")
    if camera is not None and camera not in CAMERAS:
      raise ValueError(
        f"camera must be one of {', '.join(CAMERAS)}, or None; got {camera!r}"
      )
    self.camera = camera
    if self.split.distinct:
      self._motions = self._distinct_motions()
    else:
      self._motions = range(self.count)

  def __len__(self) -> int:
    """The number of clips."""
    return self.count

  def __getitem__(self, index: int) -> Scene:
    """Returns scene `index`; raises IndexError outside [0, len)."""
    if not 0 <= index < self.count:
      raise IndexError(f"clip {index} of a split of {self.count} clips")
    scene = self._scene(index, self._motions[index])
    if self.camera is None:
      return scene
    name = CAMERAS[self.camera]
    return dataclasses.replace(
      scene, camera=dataclasses.replace(scene.camera, name=name)
    )

  def _scene(self, index: int, motion: int) -> Scene:
    """Draws scene `index` with the motions of stream `motion`."""
    group = index // self.split.group
    keys = (group, motion, group, index)
    generators = {
      name: np.random.default_rng((self.seed, self.split.family, i, int(key)))
      for i, (name, key) in enumerate(zip(STREAMS, keys, strict=True))
    }
    return draw_scene(Streams(**generators), self.split.moving_camera)

  def _distinct_motions(self) -> list[int]:
    """Returns the motion stream of every clip, those with known words skipped.

    The camera has no say in it, so that splits that differ in the camera only
    skip the same streams.
    """
    known, chosen, motion = set(), [], 0
    while len(chosen) < self.count:
      sprites = named_sprites(self._scene(len(chosen), motion))
      words = tuple(phrase(sprite) for sprite in sprites)
      if words not in known:
        known.add(words)
        chosen.append(motion)
      motion += 1
    return chosen
