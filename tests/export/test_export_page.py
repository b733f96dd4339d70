"""The page on exports: the code that needs no trajvit runs as it stands."""

import re
from pathlib import Path

import numpy as np
from tiny import make_clip
from tiny_runs import exported_run, tiny_run

from trajvit.types import Batch, Clip

PAGE = Path(__file__).parents[2] / "docs" / "export.md"


def section(title: str) -> str:
  return PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_code_without_trajvit_runs(rng):
  (code,) = re.findall("```python\n(.*?)```", section("Without trajvit"), re.S)
  imports = set(re.findall(r"^import (\w+)|^from (\w+)", code, re.M))
  assert {a or b for a, b in imports} == {"json", "jax", "numpy"}
  run, directory = tiny_run(), exported_run() / "export"
  clip = make_clip(rng)
  names = dict(directory=directory, frames=clip.frames, tracks=clip.tracks)
  exec(code, names)
  clip = Clip(clip.frames, tracks=clip.tracks)
  expected = run.apply(run.variables, Batch(clip=clip))["video_embedding"]
  np.testing.assert_allclose(names["embedding"], expected, atol=1e-5)
  for file in directory.iterdir():
    assert f"`{file.name}`" in section("The directory")
