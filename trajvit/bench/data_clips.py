"""The clips that the benchmark of data reads: videos, tracks and captions.

Textured regions pan, textured discs drift over them and the sensor is noisy, so
that the videos have the bit rate of those that people shoot, and decoding costs
what it costs there.
"""

import dataclasses
import json
import math
import pathlib

import numpy as np

from trajvit.data.decode import write_video
from trajvit.data.synthetic.texture import texture_bank
from trajvit.data.tracks import sidecar_paths, write_sidecars

REGIONS, DISCS = (16, 40), (4, 12)  # of a clip: from, up to but without
NOISE = 2.5  # standard deviation, of 256 steps
MANIFEST, MADE = "clips.json", "made.json"


@dataclasses.dataclass(frozen=True)
class Recording:
  """What is recorded.

  Attributes:
    clips: how many videos.
    frames: of each.
    height: in pixels.
    width: in pixels.
    fps: frames a second.
    key_interval: frames from one key frame to the next.
  """

  clips: int = 96
  frames: int = 128
  height: int = 240
  width: int = 320
  fps: int = 30
  key_interval: int = 12


def record(folder: pathlib.Path, recording: Recording) -> pathlib.Path:
  """Makes the clips, each with a pair of sidecar files for all of its frames.

  What a clip shows depends on its number and on `recording` alone. A folder
  that holds the clips of this recording is left as it is.

  Args:
    folder: where they go; it is made.
    recording: what to record.

  Returns:
    Their manifest.

  Raises:
    ValueError: the folder holds something else, or clips cannot be so small.
  """
  manifest, made = folder / MANIFEST, folder / MADE
  asked = dataclasses.asdict(recording)
  if made.exists() and json.loads(made.read_text()) == asked:
    return manifest
  if folder.exists() and any(folder.iterdir()):
    raise ValueError(
      f"{folder}: expected no files, or those of a benchmark of {asked}"
    )
  if min(recording.height, recording.width) < 16 or recording.clips < 1:
    raise ValueError(
      f"expected clips of at least 16 x 16 pixels, got {recording}"
    )
  folder.mkdir(parents=True, exist_ok=True)
  rows = []
  for number in range(recording.clips):
    path = folder / f"{number:05}.mp4"
    frames, labels = _draw(recording, number)
    write_video(
      path, frames, recording.fps, key_interval=recording.key_interval
    )
    write_sidecars(*sidecar_paths(path), labels)
    caption = f"textured discs drift over clip number {number}"
    rows.append({"video": path.name, "caption": caption})
  manifest.write_text(json.dumps(rows))
  made.write_text(json.dumps(asked))
  return manifest


def megabits_a_second(folder: pathlib.Path, recording: Recording) -> float:
  """Returns the mean bit rate of the videos."""
  sizes = [path.stat().st_size for path in folder.glob("*.mp4")]
  seconds = recording.clips * recording.frames / recording.fps
  return 8e-6 * sum(sizes) / seconds


def _draw(recording, number) -> tuple[np.ndarray, np.ndarray]:
  """Returns frames [n, H, W, 3] uint8 and their tracks [n, H, W] int32."""
  rng = np.random.default_rng(number)
  size = np.array([recording.height, recording.width])
  side = 2 ** math.ceil(math.log2(1.5 * size.max()))
  bank = texture_bank(side)
  world, regions = _world(rng, bank)
  discs = [_disc(rng, bank, size.min()) for _ in range(rng.integers(*DISCS))]
  places = rng.uniform(0, size, (len(discs), 2))
  speeds = rng.uniform(-2, 2, (len(discs), 2))
  pan = rng.uniform(-2, 2, 2)
  noise = rng.normal(0, NOISE, (side, side, 3)).round()
  noise = noise.astype(np.int16)
  shape = recording.frames, *size
  frames, labels = np.empty((*shape, 3), np.uint8), np.empty(shape, np.int32)
  for t in range(recording.frames):
    y, x = (
      (np.arange(n) + round(step * t)) % side
      for n, step in zip(size, pan, strict=True)
    )
    frame, owner = world[y[:, None], x], regions[y[:, None], x]
    for i, (texture, inside) in enumerate(discs):
      center = places[i] + speeds[i] * t
      top, left = np.abs((center % (2 * size)) - size).astype(int)
      seen = inside[: size[0] - top, : size[1] - left]
      h, w = seen.shape
      frame[top : top + h, left : left + w][seen] = texture[:h, :w][seen]
      owner[top : top + h, left : left + w][seen] = REGIONS[1] + i
    grain = rng.integers(0, side, 2)
    y, x = ((np.arange(n) + g) % side for n, g in zip(size, grain, strict=True))
    frames[t] = np.clip(frame + noise[y[:, None], x], 0, 255)
    labels[t] = owner
  return frames, labels


def _world(rng, bank) -> tuple[np.ndarray, np.ndarray]:
  """Returns a background [S, S, 3] uint8 that tiles, and its regions, int32."""
  count, side = rng.integers(*REGIONS), bank.shape[1]
  seeds = rng.uniform(0, side, (count, 2))
  gaps = np.abs(np.arange(side)[:, None, None] - seeds)  # [S, count, 2]
  down, across = np.moveaxis(np.minimum(gaps, side - gaps) ** 2, -1, 0)
  regions = (down[:, None] + across).argmin(-1)  # [S, S]
  textures = bank[rng.integers(0, len(bank), count)]
  shade = np.take_along_axis(textures, regions[None], 0)[0, ..., None] / 255
  low, high = rng.uniform(0, 160, (count, 3)), rng.uniform(96, 256, (count, 3))
  color = low[regions] * (1 - shade) + high[regions] * shade
  return color.astype(np.uint8), regions.astype(np.int32)


def _disc(rng, bank, side) -> tuple[np.ndarray, np.ndarray]:
  """Returns a texture [d, d, 3] uint8 and which of its pixels are a disc."""
  diameter = int(rng.uniform(side / 8, side / 3))
  shade = bank[rng.integers(len(bank))][:diameter, :diameter, None] / 255
  low, high = rng.uniform(0, 128, 3), rng.uniform(128, 256, 3)
  axis = np.arange(diameter) - (diameter - 1) / 2
  inside = axis[:, None] ** 2 + axis**2 <= (diameter / 2) ** 2
  return (low * (1 - shade) + high * shade).astype(np.uint8), inside
