"""Kinds of checkpoints that are known. `KINDS` is what `--kind` can name."""

import re
from collections.abc import Iterable

from trajvit.interop.kinds.bert import BERT
from trajvit.interop.kinds.clip import CLIP, SIGLIP
from trajvit.interop.kinds.convnext import CONVNEXT
from trajvit.interop.kinds.flextok import FLEXTOK
from trajvit.interop.kinds.kind import Kind, Plan
from trajvit.interop.kinds.titok import TITOK
from trajvit.interop.kinds.trajtok import SEGMENTER, TRAJVIT2
from trajvit.interop.kinds.trajvit import TRAJVIT
from trajvit.interop.kinds.video import VIDEOMAE, VJEPA2
from trajvit.interop.kinds.videoprism import VIDEOPRISM
from trajvit.interop.kinds.vit import VIT
from trajvit.interop.kinds.vit3d import VIT3D
from trajvit.table import Table

KINDS = Table(
  "kind of checkpoint",
  {
    "bert": BERT,
    "clip": CLIP,
    "dinov3-convnext": CONVNEXT,
    "flextok": FLEXTOK,
    "siglip": SIGLIP,
    "titok": TITOK,
    "trajtok-segmenter": SEGMENTER,
    "trajvit-torch": TRAJVIT,
    "trajvit2": TRAJVIT2,
    "videomae": VIDEOMAE,
    "videoprism": VIDEOPRISM,
    "vit": VIT,
    "vit3d": VIT3D,
    "vjepa2": VJEPA2,
  },
)

__all__ = ["KINDS", "Kind", "Plan", "kind_of"]


def kind_of(names: Iterable[str]) -> str:
  """Returns the one kind whose names these are.

  Raises:
    ValueError: none has such names, or several have.
  """
  names = list(names)
  found = [
    kind
    for kind, known in KINDS.items()
    if any(re.search(known.marker, name) for name in names)
  ]
  if len(found) != 1:
    raise ValueError(
      f"the names are those of {', '.join(found) or 'no kind that is known'}; "
      f"name one of {', '.join(sorted(KINDS))}"
    )
  return found[0]
