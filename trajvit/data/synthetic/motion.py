"""Where sprites and the camera are over time: motions as arrays.

Everything is a function of `time` [T] float, 0 at the first frame and 1 at the
last; coordinates are those of `trajvit.data.synthetic.scene`.
"""

import dataclasses

import numpy as np

from trajvit.data.synthetic.scene import Camera, Sprite


@dataclasses.dataclass(frozen=True)
class Path:
  """A sprite over time.

  Attributes:
    x, y: [T] float, its centre in the world.
    radius: [T] float.
    angle: [T] float, radians.
    visible: [T] bool.
  """

  x: np.ndarray
  y: np.ndarray
  radius: np.ndarray
  angle: np.ndarray
  visible: np.ndarray


@dataclasses.dataclass(frozen=True)
class View:
  """A camera over time: the frame shows `world = frame / zoom + (x, y)`.

  Attributes:
    x, y: [T] float, the point of the world in the frame's middle.
    zoom: [T] float, magnification.
  """

  x: np.ndarray
  y: np.ndarray
  zoom: np.ndarray


def sprite_path(sprite: Sprite, time: np.ndarray) -> Path:
  """Returns where `sprite` is at each `time`."""
  look, motion = sprite.look, sprite.motion
  progress = time * time * (3 - 2 * time) if motion.eased else time
  travel = motion.distance * (progress - 0.5)
  x, y = np.zeros_like(time), np.zeros_like(time)
  scale, turn = np.ones_like(time), np.zeros_like(time)
  visible = np.ones(time.shape, bool)

  match motion.name:
    case "moves left":
      x = -travel
    case "moves right":
      x = travel
    case "moves up":
      y = -travel
    case "moves down":
      y = travel
    case "grows":
      scale = 0.55 + progress
    case "shrinks":
      scale = 1.55 - progress
    case "spins":
      turn = motion.turn * time
    case "bounces":  # up from the ground and back, twice a clip
      y = 0.12 - 0.24 * np.abs(np.sin(np.pi * (2 * time + motion.phase)))
    case "circles":  # a little more than once round
      around = 2 * np.pi * (np.sign(motion.turn) * 1.1 * time + motion.phase)
      x, y = 0.17 * np.cos(around), 0.17 * np.sin(around)
    case "appears":
      visible = time >= motion.moment
    case "vanishes":
      visible = time < motion.moment
    case "stays still":
      pass
    case unknown:
      raise ValueError(f"unknown motion {unknown!r}")

  return Path(
    look.x + x, look.y + y, look.radius * scale, look.tilt + turn, visible
  )


def camera_view(camera: Camera, time: np.ndarray) -> View:
  """Returns what `camera` shows at each `time`."""
  travel = camera.distance * (time - 0.5)
  x, y, zoom = np.zeros_like(time), np.zeros_like(time), np.ones_like(time)

  match camera.name:
    case "is still":
      pass
    case "pans left":
      x = -travel
    case "pans right":
      x = travel
    case "tilts up":
      y = -travel
    case "tilts down":
      y = travel
    case "zooms in":
      zoom = 0.85 + 0.35 * time
    case "zooms out":
      zoom = 1.2 - 0.35 * time
    case "shakes":
      rng = np.random.default_rng(camera.seed)
      x, y = rng.normal(0, 0.035, (2, len(time)))
    case unknown:
      raise ValueError(f"unknown camera {unknown!r}")

  return View(x, y, zoom)
