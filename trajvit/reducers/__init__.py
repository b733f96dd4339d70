"""Reducers: Tokens -> fewer Tokens. `REDUCERS` is what a config can name."""

from trajvit.reducers.center_clip import CenterClip
from trajvit.reducers.evad import Evad
from trajvit.reducers.representation_shift import RepresentationShift
from trajvit.reducers.select import RandomK, UniformK
from trajvit.table import Table

REDUCERS = Table(
  "reducer",
  {
    "center_clip": CenterClip,
    "evad": Evad,
    "random_k": RandomK,
    "representation_shift": RepresentationShift,
    "uniform_k": UniformK,
  },
)
