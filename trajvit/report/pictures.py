"""Pictures of trajectories drawn over the frames of a clip."""

import io

import numpy as np
from PIL import Image

from trajvit.data.extract.overlay import overlay_strip

FRAMES = 8  # shown of a clip, evenly spaced
SCALE = 2  # enlargement of small clips


def trajectories(frames: np.ndarray, tracks: np.ndarray) -> bytes:
  """Returns a PNG: frames above, the same with every track coloured below.

  Args:
    frames: [T, H, W, 3] uint8.
    tracks: [T, h, w] int32 label map, -1 = none; a track keeps its colour.
  """
  shown = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames)))
  shown = shown.round().astype(int)
  plain = np.concatenate(list(frames[shown]), axis=1)
  strip = overlay_strip(frames[shown], tracks[shown])
  picture = np.concatenate([plain, strip[:, : plain.shape[1]]], axis=0)
  image = Image.fromarray(picture)
  if frames.shape[1] < 128:
    size = (image.width * SCALE, image.height * SCALE)
    image = image.resize(size, Image.Resampling.NEAREST)
  buffer = io.BytesIO()
  image.save(buffer, format="png")
  return buffer.getvalue()
