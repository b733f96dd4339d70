"""Stems: frames -> a grid of features. `STEMS` is what a config can name.

A stem is called as `stem(frames)` with [N, H, W, 3] float32 frames, which it
sees one by one, and returns [N, h, w, D] in its `dtype`. It tells `width`, D,
and `stride`, the pixels on a side of a cell: h = H / stride and w = W / stride.
H and W are free as long as the stem can divide them.
"""

from trajvit.layers.stems.conv import ConvStem
from trajvit.layers.stems.convnext import ConvNeXtStem
from trajvit.layers.stems.vit import ViTStem
from trajvit.table import Table

STEMS = Table(
  "stem", {"conv": ConvStem, "convnext": ConvNeXtStem, "vit": ViTStem}
)
