"""The clips that encoders are compared on, and how many tokens they have."""

import contextlib
import dataclasses
import itertools
import math

import jax
import numpy as np

from trajvit.bench.encoder_cases import (
  ENCODERS_COMPARED,
  MAX_TRACKS,
  Case,
  model_spec,
)
from trajvit.bench.encoder_programs import without_text
from trajvit.data import build_loader, data_shapes
from trajvit.layers.sizes import Size
from trajvit.models import build_model
from trajvit.training.functional import functional
from trajvit.types import Batch

# TrajViT pools over tracks on a quarter of the frame.
TRACK_STRIDE = 4
CAPTION_BYTES = 64
# How many tokens there are does not depend on how wide they are.
_NARROW = Size(width=16, depth=2, num_heads=2, mlp_dim=16)


@dataclasses.dataclass(frozen=True)
class Clips:
  """Clips of one length.

  Attributes:
    batches: as training sees them, with captions and tracks.
    context: what the data tells a model, see `Loader.model_context`.
  """

  batches: list[Batch]
  context: dict

  @property
  def batch_size(self) -> int:
    """Returns how many clips there are in a batch."""
    return len(self.batches[0].clip.frames)


def read_clips(
  frames: int,
  *,
  size: int,
  count: int,
  batch_size: int,
  manifest: str | None = None,
  root: str = "",
) -> Clips:
  """Returns moving sprites with their exact tracks, or clips of one's own.

  Args:
    frames: of a clip.
    size: pixels, rows and columns.
    count: how many clips, rounded up to whole batches.
    batch_size: B.
    manifest: of videos with captions, whose tracks are found in the pixels
      where they have no sidecar files; None is moving sprites.
    root: the folder that its relative paths start from.
  """
  source = dict(name="moving_sprites", count=count)
  if manifest is not None:
    source = dict(
      name="video_files", manifest=manifest, root=root, tracks="auto"
    )
  data = dict(
    batch_size=batch_size,
    clip=dict(
      frames=frames,
      size=size,
      track_grid=size // TRACK_STRIDE,
      max_tracks=MAX_TRACKS,
    ),
    text=dict(name="bytes", length=CAPTION_BYTES),
    train=source,
  )
  context, _ = data_shapes(data)
  loader = build_loader(data, source, seed=0)
  with contextlib.closing(loader.train(0)) as batches:
    wanted = itertools.islice(batches, math.ceil(count / batch_size))
    return Clips([batch for batch, _ in wanted], context)


def count_tokens(case: Case, clips: Clips) -> np.ndarray:
  """Returns how many tokens clips have, [n] int.

  Args:
    case: whose tokens an untrained encoder can tell, with a slot for each.
    clips: n of them.
  """
  spec = model_spec(case, _NARROW, clips.context["clip_shape"])
  init, apply = functional(lambda: build_model(spec, seed=0, **clips.context))

  @jax.jit
  def count(batch):
    # All but what the mask depends on is left out by the compiler.
    return apply(init(), batch)["tokens"].mask.sum(1)

  found = [count(without_text(batch)) for batch in clips.batches]
  return np.concatenate(jax.device_get(found))


def known(names) -> dict[str, Case]:
  """Returns the cases of some names.

  Raises:
    ValueError: an unknown name.
  """
  unknown = sorted(set(names) - set(ENCODERS_COMPARED))
  if unknown:
    raise ValueError(
      f"no encoder {', '.join(unknown)} to compare; known: "
      f"{', '.join(ENCODERS_COMPARED)}"
    )
  return {name: ENCODERS_COMPARED[name] for name in names}
