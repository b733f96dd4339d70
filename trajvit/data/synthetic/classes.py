"""The class of a clip: one of several questions about its scene."""

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.caption import named_sprites
from trajvit.data.synthetic.scene import Scene

# What is asked -> its answers; the class is the position in these. Of the two
# named sprites it is the one that the canonical caption names first.
CLASSES = {
  "motion": vocabulary.MOTIONS,
  "color": tuple(vocabulary.COLORS),
  "shape": vocabulary.SHAPES,
  "camera": (vocabulary.STILL_CAMERA, *vocabulary.MOVING_CAMERAS),
}


def class_of(scene: Scene, asked: str) -> int:
  """Returns the class of a scene, a position in `CLASSES[asked]`."""
  sprite = named_sprites(scene)[0]
  answers = {
    "motion": sprite.motion.name,
    "color": sprite.look.color,
    "shape": sprite.look.shape,
    "camera": scene.camera.name,
  }
  return CLASSES[asked].index(answers[asked])
