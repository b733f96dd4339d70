"""The class of a clip: one of several questions about its scene."""

import itertools

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.caption import named_sprites
from trajvit.data.synthetic.scene import Scene

_PAIRS = itertools.combinations_with_replacement(sorted(vocabulary.COLORS), 2)
# What is asked -> its answers; the class is the position in these. Where it is
# asked of one sprite, that is the one that the canonical caption names first;
# "colors" are those of both that are named.
CLASSES = {
  "motion": vocabulary.MOTIONS,
  "color": tuple(vocabulary.COLORS),
  "colors": tuple(" and ".join(pair) for pair in _PAIRS),
  "shape": vocabulary.SHAPES,
  "camera": (vocabulary.STILL_CAMERA, *vocabulary.MOVING_CAMERAS),
}


def class_of(scene: Scene, asked: str) -> int:
  """Returns the class of a scene, a position in `CLASSES[asked]`."""
  named = named_sprites(scene)
  answers = {
    "motion": named[0].motion.name,
    "color": named[0].look.color,
    "colors": " and ".join(sorted(sprite.look.color for sprite in named)),
    "shape": named[0].look.shape,
    "camera": scene.camera.name,
  }
  return CLASSES[asked].index(answers[asked])
