"""Moving sprites: an embedded data set of captioned clips with exact tracks."""

from trajvit.data.synthetic.sprites import MovingSprites

__all__ = ["MovingSprites"]
