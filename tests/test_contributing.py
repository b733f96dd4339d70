"""The example of CONTRIBUTING.md is a reducer that works."""

import pathlib
import re

import numpy as np
from flax import nnx

from trajvit.encoders.vit import ViT
from trajvit.table import Table
from trajvit.types import Tokens

PAGE = pathlib.Path(__file__).parent.parent / "CONTRIBUTING.md"


def test_the_example_of_a_reducer_runs(rng):
  (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
  names = {"__name__": "largest_norm"}
  exec(code, names)
  reducers = Table("reducer", {"largest_norm": names["LargestNorm"]})
  reducer = reducers.build({"name": "largest_norm", "k": 2})
  features = rng.normal(size=(1, 5, 8)).astype(np.float32)
  features[0, [1, 4]] *= 100
  tokens = Tokens(
    features=features,
    mask=np.ones((1, 5), bool),
    positions=np.zeros((1, 5, 3), np.float32),
    size=np.ones((1, 5), np.float32),
  )
  encoder = ViT(
    width=8,
    depth=1,
    num_heads=2,
    reducers=[reducer],
    rngs=nnx.Rngs(params=0),
  )
  encoded, aux = encoder(tokens)
  assert aux["reducers"][0]["indices"].tolist() == [[1, 4]]
  assert encoded.mask.sum() == 3
