"""From a scene to pixels and the exact label of every pixel.

The background is painted once, on a world larger than the frame, and sampled
through the camera; sprites are evaluated at the centre of every pixel. There is
no blending, so that each pixel has exactly one owner.
"""

import numpy as np

from trajvit.data.synthetic import motion, vocabulary
from trajvit.data.synthetic.scene import NUM_REGIONS, Region, Scene, Sprite
from trajvit.data.synthetic.texture import texture_bank

WORLD = 1.8  # side of the background in frames: what any camera may see
OVERSAMPLING = 1.5  # pixels of the background per pixel of the frame
TEXTURE = 4.0  # side of a texture, in pixels of the background, over size
NOISE = 6  # amplitude of the sensor noise, of 255


def render(scene: Scene, frames: int, size: int):
  """Returns the clip and who owns each pixel.

  Args:
    scene: what to show.
    frames: T, at least 2.
    size: S = H = W in pixels.

  Returns:
    pixels [T, S, S, 3] uint8 RGB, and owners [T, S, S] uint8: i for
    `scene.regions[i]`, and NUM_REGIONS + k for `scene.sprites[k]`.
  """
  time = np.linspace(0, 1, frames)
  view = motion.camera_view(scene.camera, time)
  pixel = (np.arange(size) + 0.5) / size - 0.5
  # The world's coordinates of every column and every row, [T, S].
  x = (pixel / view.zoom[:, None] + view.x[:, None]).astype(np.float32)
  y = (pixel / view.zoom[:, None] + view.y[:, None]).astype(np.float32)

  world, cells = paint_world(scene.regions, size)
  seen = _world_index(y, len(world))[:, :, None] * len(world)  # [T, S, 1]
  seen = seen + _world_index(x, len(world))[:, None, :]  # [T, S, S]
  pixels = world.reshape(-1, 3)[seen]
  owners = cells.ravel()[seen]

  for k in reversed(range(len(scene.sprites))):  # back to front
    sprite = scene.sprites[k]
    path = motion.sprite_path(sprite, time)
    u, v = _sprite_coordinates(path, x, y)
    inside = contains(sprite.look.shape, u, v) & path.visible[:, None, None]
    dark = is_dark(sprite.look.pattern, u[inside], v[inside])
    pixels[inside] = _palette(sprite)[dark.astype(np.intp)]
    owners[inside] = NUM_REGIONS + k

  return _add_noise(pixels, scene.noise_seed), owners


def paint_world(regions: tuple[Region, ...], size: int):
  """Returns the background, pixels [W, W, 3] and their regions [W, W], uint8.

  W is WORLD * OVERSAMPLING frames of `size` pixels.
  """
  side = round(WORLD * OVERSAMPLING * size)
  axis = ((np.arange(side) + 0.5) / side).astype(np.float32)
  cells = np.zeros((side, side), np.uint8)
  nearest = np.full((side, side), np.inf, np.float32)
  for i, region in enumerate(regions):
    distance = (axis - region.y)[:, None] ** 2 + (axis - region.x) ** 2
    closer = distance < nearest
    cells[closer] = i
    np.minimum(nearest, distance, out=nearest)

  bank = texture_bank(round(TEXTURE * size))
  period = bank.shape[-1]
  shift = np.array([r.shift for r in regions]) * period  # [K, 2]
  wrapped = np.arange(side) + shift.astype(np.intp)[..., None]  # [K, 2, W]
  wrapped %= period
  rows = wrapped[cells, 0, np.arange(side)[:, None]]
  columns = wrapped[cells, 1, np.arange(side)[None]]
  textures = np.array([int(r.texture * len(bank)) for r in regions])
  shade = bank[textures[cells], rows, columns]  # [W, W]

  color = np.array([r.color for r in regions])[:, None]  # [K, 1, 3]
  contrast = np.array([r.contrast for r in regions])[:, None, None]
  levels = np.linspace(-1, 1, 256)[:, None]
  palette = np.clip(color + contrast * levels, 0, 255).astype(np.uint8)
  return palette[cells, shade], cells


def contains(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
  """Returns whether points are inside a shape of radius about 1, as bool.

  Args:
    shape: one of `vocabulary.SHAPES`.
    u, v: equal shapes, right and down from the sprite's centre.
  """
  match shape:
    case "circle":
      return u * u + v * v < 1
    case "square":
      return np.maximum(np.abs(u), np.abs(v)) < 0.86
    case "triangle":
      return (v < 0.62) & (v > 1.9 * np.abs(u) - 1)
    case "star":  # five points: the edge swings between 0.45 and 1.05
      fifths = np.arctan2(u, -v) * (5 / (2 * np.pi))
      edge = 0.45 + 1.2 * np.abs(fifths - np.floor(fifths) - 0.5)
      return u * u + v * v < edge * edge
    case unknown:
      raise ValueError(f"unknown shape {unknown!r}")


def is_dark(pattern: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
  """Returns where a pattern shows its dark colour, as bool.

  Args:
    pattern: one of `vocabulary.PATTERNS`.
    u, v: as for `contains`.
  """
  match pattern:
    case "plain":
      return np.zeros(u.shape, bool)
    case "striped":
      return np.sin(9.5 * u) > 0
    case "dotted":
      return np.sin(8.5 * u) * np.sin(8.5 * v) > 0.35
    case unknown:
      raise ValueError(f"unknown pattern {unknown!r}")


def _world_index(coordinate: np.ndarray, side: int) -> np.ndarray:
  """The pixel of the world at `coordinate`, the outermost if it is beyond."""
  index = np.floor((coordinate / WORLD + 0.5) * side).astype(np.intp)
  return np.clip(index, 0, side - 1)


def _sprite_coordinates(path, x, y):
  """The place of every pixel on the sprite's own axes, twice [T, S, S]."""
  right = ((x - path.x[:, None]) / path.radius[:, None]).astype(np.float32)
  down = ((y - path.y[:, None]) / path.radius[:, None]).astype(np.float32)
  cos = np.cos(path.angle).astype(np.float32)[:, None]
  sin = np.sin(path.angle).astype(np.float32)[:, None]
  u = (cos * right)[:, None, :] + (sin * down)[:, :, None]
  v = (cos * down)[:, :, None] - (sin * right)[:, None, :]
  return u, v


def _palette(sprite: Sprite) -> np.ndarray:
  """The bright and the dark colour of a sprite, [2, 3] uint8."""
  color = np.array(vocabulary.COLORS[sprite.look.color])
  bright = color * sprite.look.brightness
  return np.clip([bright, bright / 4], 0, 255).astype(np.uint8)


def _add_noise(pixels: np.ndarray, seed: int) -> np.ndarray:
  """Adds grey noise to every pixel."""
  rng = np.random.default_rng(seed)
  noise = rng.integers(-NOISE, NOISE + 1, (*pixels.shape[:3], 1), np.int8)
  return np.clip(pixels + noise.astype(np.int16), 0, 255).astype(np.uint8)
