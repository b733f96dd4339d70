"""What a clip shows, as symbols and numbers: nothing here knows of pixels.

Lengths are fractions of the frame, with the origin in the frame's middle, x to
the right and y down. Time runs from 0 to 1 over the clip, so that one scene
can be rendered at any size and any number of frames.
"""

import dataclasses
import math

import numpy as np

from trajvit.data.synthetic import vocabulary

NUM_NAMED = 2  # sprites that the caption names
NUM_REGIONS = 5  # of the background
NUM_SEEDS = 2**31


@dataclasses.dataclass(frozen=True)
class Look:
  """What a sprite looks like, and where it is in the middle of its motion.

  Attributes:
    pattern: one of `vocabulary.PATTERNS`.
    color: a key of `vocabulary.COLORS`.
    shape: one of `vocabulary.SHAPES`.
    named: whether the caption names it; the others are distractors.
    x, y: its centre.
    radius: of the circle that encloses it, roughly.
    tilt: radians.
    brightness: factor on the colour.
  """

  pattern: str
  color: str
  shape: str
  named: bool
  x: float
  y: float
  radius: float
  tilt: float
  brightness: float


@dataclasses.dataclass(frozen=True)
class Motion:
  """What a sprite does; each motion reads the numbers that concern it.

  Attributes:
    name: one of `vocabulary.MOTIONS`.
    distance: travelled by a sprite that moves.
    eased: whether it starts and ends slowly.
    turn: radians that a spinning sprite turns, positive or negative.
    phase: in [0, 1), where a bouncing or circling sprite begins.
    moment: in (0, 1), when a sprite appears or vanishes.
  """

  name: str
  distance: float = 0.45
  eased: bool = False
  turn: float = 5.0
  phase: float = 0.0
  moment: float = 0.5


@dataclasses.dataclass(frozen=True)
class Sprite:
  """A textured shape that moves over the background."""

  look: Look
  motion: Motion


@dataclasses.dataclass(frozen=True)
class Region:
  """A Voronoi cell of the background.

  Attributes:
    x, y: its site, in [0, 1] of the world, which is larger than the frame.
    color: mean RGB in [0, 255].
    contrast: amplitude of its texture, in the same unit.
    texture: in [0, 1), which texture of the bank.
    shift: (y, x) in [0, 1), where in that texture.
  """

  x: float
  y: float
  color: tuple[int, int, int]
  contrast: float
  texture: float
  shift: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Camera:
  """How the world is seen.

  Attributes:
    name: `vocabulary.STILL_CAMERA` or one of `vocabulary.MOVING_CAMERAS`.
    distance: travelled by a camera that pans or tilts.
    seed: of the jitter of a camera that shakes.
  """

  name: str
  distance: float = 0.3
  seed: int = 0


@dataclasses.dataclass(frozen=True)
class Scene:
  """A whole clip.

  Attributes:
    sprites: front to back; those that the caption names come first.
    regions: of the background.
    camera: how it moves.
    noise_seed: of the sensor noise.
  """

  sprites: tuple[Sprite, ...]
  regions: tuple[Region, ...]
  camera: Camera
  noise_seed: int


@dataclasses.dataclass(frozen=True)
class Streams:
  """The four independent random streams that a scene is drawn from.

  Scenes that agree in one stream agree in all that is drawn from it: what a
  still picture shows (`look`), what the sprites do (`motion`), what the camera
  does (`camera`) and the sensor noise (`render`).
  """

  look: np.random.Generator
  motion: np.random.Generator
  camera: np.random.Generator
  render: np.random.Generator


def draw_scene(streams: Streams, moving_camera: float) -> Scene:
  """Returns a random scene; `moving_camera` is the chance that it moves."""
  looks = _draw_looks(streams.look)
  regions = tuple(_draw_region(streams.look) for _ in range(NUM_REGIONS))
  sprites = tuple(_draw_sprite(look, streams.motion) for look in looks)
  camera = _draw_camera(streams.camera, moving_camera)
  noise_seed = int(streams.render.integers(NUM_SEEDS))
  return Scene(sprites, regions, camera, noise_seed)


def _draw_looks(rng) -> list[Look]:
  """Draws the named sprites and at most one distractor, around the middle.

  No two agree in both colour and shape, so that a pattern never has to be
  named to tell them apart.
  """
  count = NUM_NAMED + int(rng.integers(2))
  start = rng.uniform(0, 2 * math.pi)
  taken, looks = set(), []
  while len(looks) < count:
    pattern = _choose(rng, vocabulary.PATTERNS)
    color = _choose(rng, tuple(vocabulary.COLORS))
    shape = _choose(rng, vocabulary.SHAPES)
    if (color, shape) in taken:
      continue
    taken.add((color, shape))
    named = len(looks) < NUM_NAMED
    angle = start + 2 * math.pi * len(looks) / count + rng.uniform(-0.4, 0.4)
    offset = rng.uniform(0.16, 0.27)
    looks.append(
      Look(
        pattern,
        color,
        shape,
        named,
        x=offset * math.cos(angle),
        y=offset * math.sin(angle),
        radius=rng.uniform(0.105, 0.145) if named else rng.uniform(0.07, 0.1),
        tilt=rng.uniform(-0.25, 0.25),
        brightness=rng.uniform(0.88, 1.05),
      )
    )
  return looks


def _draw_sprite(look: Look, rng) -> Sprite:
  """Adds a motion to `look`; a distractor has none."""
  motion = _draw_motion(rng) if look.named else Motion("stays still")
  return Sprite(look, motion)


def _draw_region(rng) -> Region:
  x, y, texture, shift_y, shift_x = rng.random(5).tolist()
  return Region(
    x,
    y,
    color=tuple(rng.integers(50, 150, 3).tolist()),
    contrast=rng.uniform(25, 60),
    texture=texture,
    shift=(shift_y, shift_x),
  )


def _draw_motion(rng) -> Motion:
  # Every number is drawn whatever the name, to keep the streams in step.
  return Motion(
    name=_choose(rng, vocabulary.MOTIONS),
    distance=rng.uniform(0.38, 0.55),
    eased=bool(rng.integers(2)),
    turn=float(rng.choice((-1, 1)) * rng.uniform(3.5, 6.5)),
    phase=rng.random(),
    moment=rng.uniform(1 / 3, 2 / 3),
  )


def _draw_camera(rng, moving_camera: float) -> Camera:
  moves = rng.random() < moving_camera
  name = _choose(rng, vocabulary.MOVING_CAMERAS)
  return Camera(
    name=name if moves else vocabulary.STILL_CAMERA,
    distance=rng.uniform(0.25, 0.4),
    seed=int(rng.integers(NUM_SEEDS)),
  )


def _choose(rng, words: tuple[str, ...]) -> str:
  return words[int(rng.integers(len(words)))]
