"""Which tokens of a run may meet, as pictures: patterns and packed rows."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from trajvit.data.packing import Packing
from trajvit.ops.attention.block_mask import may_meet
from trajvit.ops.attention.coordinates import Coordinates
from trajvit.ops.attention.patterns import build_pattern
from trajvit.report.clips import choose_evaluation, read_clips
from trajvit.training.config import RunConfig, read_config
from trajvit.training.workdir import read_run_config

MOST_TOKENS = 4096  # N**2 pairs are held at once
_SIDE = 320  # pixels that a picture has at least
_MEET, _APART = (28, 70, 120), (238, 240, 243)


def masks_of(workdir: str | Path) -> dict[str, np.ndarray]:
  """Returns {what it is: [N, N] bool}, a row a token that reads.

  There is one for a pattern of the encoder, in raster order of its grid; one
  for registers that read a clip, patches of every step first; and one for the
  first row that the loader packs. A run where all tokens of a clip meet has
  none. No checkpoint is needed.

  Raises:
    ValueError: more than MOST_TOKENS tokens.
  """
  config = read_config(read_run_config(workdir))
  model, found = config.model, {}
  pattern = model.get("encoder", {}).get("pattern")
  if pattern:
    found["pattern of the encoder"] = grid_mask(pattern)
  tokenizer = model.get("tokenizer", {})
  if tokenizer.get("name") == "registers":
    found["registers of the tokenizer"] = register_mask(
      tokenizer, (config.data["clip"]["frames"], config.data["clip"]["size"])
    )
  if config.data.get("packing"):
    found["first packed row"] = packed_mask(config)
  return found


def grid_mask(spec: dict) -> np.ndarray:
  """Returns which patches of a grid an encoder's pattern lets meet.

  Args:
    spec: `name`, `grid` and options of the pattern; how tokens are stored,
      `order` and `block`, is no part of what may meet.
  """
  options = {k: v for k, v in spec.items() if k not in ("order", "block")}
  frames, height, width = options.pop("grid")
  index = np.arange(frames * height * width)
  t, rest = np.divmod(index, height * width)
  y, x = np.divmod(rest, width)
  return _allowed(options, t=t, y=y, x=x, index=index)


def register_mask(spec: dict, clip: tuple[int, int]) -> np.ndarray:
  """Returns which patches and registers of a tokenizer may meet.

  Args:
    spec: of the tokenizer "registers".
    clip: frames, and pixels of a side.
  """
  depth, height, width = spec.get("patch", (2, 16, 16))
  frames, side = clip
  steps = frames // depth if spec.get("each_step") else 1
  patches = (frames // depth) * (side // height) * (side // width) // steps
  length = patches + spec["num_registers"]
  step, place = np.divmod(np.arange(steps * length), length)
  register = place >= patches
  index = np.where(register, place - patches, place)
  pattern = spec.get("pattern") or {"name": "nested_registers"}
  return _allowed(pattern, t=step, register=register, index=index)


def packed_mask(config: RunConfig) -> np.ndarray:
  """Returns which slots of the first packed row may meet.

  The clips are the first ones of an evaluation, packed as in training.
  """
  packing = Packing(**config.data["packing"])
  key = choose_evaluation(config, None, "retrieval")
  batch, _ = read_clips(config, key, packing.group.clips)
  counts = packing.counts(batch.clip, config.data["clip"]["max_tracks"])
  layout = packing.layout(batch.clip, config.data["clip"]["max_tracks"])
  segments = np.full(packing.group.length, -1)
  for clip in np.flatnonzero(layout.row == 0):
    start = layout.start[clip]
    segments[start : start + counts[clip]] = clip
  return (segments[:, None] == segments) & (segments >= 0)


def draw(allowed: np.ndarray) -> np.ndarray:
  """Returns a mask as a picture [side, side, 3] uint8, a pair a square."""
  image = np.where(allowed[..., None], _MEET, _APART).astype(np.uint8)
  factor = max(1, -(-_SIDE // len(image)))
  size = (image.shape[1] * factor, image.shape[0] * factor)
  picture = Image.fromarray(image).resize(size, Image.Resampling.NEAREST)
  return np.asarray(picture)


def _allowed(pattern: dict, **known) -> np.ndarray:
  """Evaluates a pattern on all pairs of one clip's tokens."""
  length = len(known["index"])
  if length > MOST_TOKENS:
    raise ValueError(
      f"a mask is drawn for up to {MOST_TOKENS} tokens, got {length}"
    )
  zeros = np.zeros(length, np.int32)
  fields = dict.fromkeys(("segment", "t", "y", "x", "register"), zeros) | known
  tokens = Coordinates(**{k: jnp.int32(v) for k, v in fields.items()})
  rows = jax.tree.map(lambda value: value[:, None], tokens)
  columns = jax.tree.map(lambda value: value[None], tokens)
  return np.asarray(may_meet(build_pattern(pattern), rows, columns))
