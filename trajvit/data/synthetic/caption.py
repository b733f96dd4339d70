"""The sentences that say what a scene shows."""

import numpy as np

from trajvit.data.synthetic import vocabulary
from trajvit.data.synthetic.scene import Scene, Sprite


def named_sprites(scene: Scene) -> list[Sprite]:
  """Returns the sprites that captions name, in the canonical order.

  The order is alphabetical in what is said of them. It can be told from the
  pixels, unlike the order of depth, and makes equal contents equal captions.
  """
  return sorted((s for s in scene.sprites if s.look.named), key=phrase)


def phrase(sprite: Sprite) -> str:
  """Returns what is said of a sprite: "a striped red square moves left"."""
  look = sprite.look
  pattern = "" if look.pattern == "plain" else f"{look.pattern} "
  return f"a {pattern}{look.color} {look.shape} {sprite.motion.name}"


def caption(scene: Scene, rng: np.random.Generator | None = None) -> str:
  """Returns a sentence such as "a red star spins while ..., the camera shakes".

  Args:
    scene: what to describe.
    rng: draws the order of the phrases and the conjunction; None gives the
      canonical caption, which is equal for two scenes if and only if they show
      the same named sprites doing the same under the same camera.
  """
  phrases = [phrase(sprite) for sprite in named_sprites(scene)]
  conjunction = vocabulary.CONJUNCTIONS[0]
  if rng is not None:
    order = rng.permutation(len(phrases))
    phrases = [phrases[i] for i in order]
    choice = int(rng.integers(len(vocabulary.CONJUNCTIONS)))
    conjunction = vocabulary.CONJUNCTIONS[choice]
  return f" {conjunction} ".join(phrases) + f", the camera {scene.camera.name}"


def caption_words() -> list[str]:
  """Returns every word of every caption, sorted; "," is one of them."""
  terms = (
    *vocabulary.COLORS,
    *vocabulary.SHAPES,
    *(p for p in vocabulary.PATTERNS if p != "plain"),
    *vocabulary.MOTIONS,
    vocabulary.STILL_CAMERA,
    *vocabulary.MOVING_CAMERAS,
    *vocabulary.CONJUNCTIONS,
    "a , the camera",
  )
  return sorted({word for term in terms for word in term.split()})
