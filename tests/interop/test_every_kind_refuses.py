"""Of every kind of checkpoint: an array too many, too few, or misshapen."""

import functools
import json
import pathlib
import re

import drawn_flextok
import numpy as np
import pytest
from drawn_weights import draw_all
from transformers_oracles import ORACLES, read

from trajvit.interop import load_torch
from trajvit.interop.kinds import KINDS

GOLDEN = pathlib.Path(__file__).parent / "golden"
CLIP = dict(frames=3, size=64)
TEXT = dict(text_heads=2, text_length=5)
# File in golden/ -> kind and config, where no other code wrote the file.
OURS = {
  "flextok": ("flextok", drawn_flextok.CONFIG),
  "segmenter": ("trajtok-segmenter", CLIP),
  "titok": ("titok", dict(num_heads=2, decoder_heads=3)),
  "titok_direct": ("titok", dict(num_heads=2, decoder_heads=3)),
  "trajvit": ("trajvit-torch", CLIP | TEXT | dict(max_tracks=4)),
  "trajvit2": ("trajvit2", CLIP | TEXT | dict(num_heads=2)),
  "vit3d": ("vit3d", dict(frames=6, size=16, num_heads=2)),
}
NAMES = sorted([*OURS, *ORACLES])


@functools.cache
def checkpoint(name):
  """Kind, state dict and config, and the names that the model reads."""
  if name in ORACLES:
    oracle = read(name)
    found = oracle.kind, oracle.state, oracle.config
  else:
    kind, config = OURS[name]
    with np.load(GOLDEN / f"{name}.npz") as file:
      shapes = json.loads(file["shapes"].tobytes())
    draw = drawn_flextok.draw if kind == "flextok" else draw_all
    found = kind, draw(shapes), config
  _, report = load_torch(*found)
  return *found, report.used


def refused(kind, state, config):
  """The words of the refusal."""
  with pytest.raises(ValueError) as error:
    load_torch(kind, state, config)
  return str(error.value)


def check(name, array):
  """Without the array something is missed; with an axis more it is refused.

  Some arrays may be absent with others: it is those that are too many then, or
  those of another variant that are missing.
  """
  kind, state, config, _ = checkpoint(name)
  rest = {key: x for key, x in state.items() if key != array}
  words = refused(kind, rest, config)
  assert re.search("missing|extra|expected|takes", words), words
  wrong = rest | {array: state[array][None]}
  assert array in refused(kind, wrong, config)


def test_every_kind_is_here():
  assert {checkpoint(name)[0] for name in NAMES} == set(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_one_array_too_many_or_too_few(name):
  kind, state, config, used = checkpoint(name)
  more = state | {"surplus.weight": np.zeros(3, np.float32)}
  assert re.search("extra +surplus.weight", refused(kind, more, config))
  check(name, used[len(used) // 2])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_array_is_missed(name):
  for array in checkpoint(name)[-1]:
    check(name, array)
