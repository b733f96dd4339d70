"""What batches and models are to expect of data that nobody has read yet."""

import jax
import numpy as np

from trajvit.data.example import ClipSpec
from trajvit.data.packing import Packing
from trajvit.data.text import TextTokenizer
from trajvit.types import Batch, Clip, Layout, Mix, Text


def model_context(clip: ClipSpec, text: TextTokenizer | None) -> dict:
  """Returns what the data tells `build_model`, in values that JSON can hold.

  Args:
    clip: how every clip looks.
    text: encodes captions, or None.

  Returns:
    `clip_shape` (T, H, W), `max_tracks`, `vocab_size` and `text_length`; the
    last two are 0 without a text tokenizer.
  """
  return {
    "clip_shape": (clip.frames, clip.size, clip.size),
    "max_tracks": clip.max_tracks,
    "vocab_size": text.vocab_size if text else 0,
    "text_length": text.length if text else 0,
  }


def batch_shapes(
  *,
  clip: ClipSpec,
  text: TextTokenizer | None,
  packing: Packing | None,
  mixed: bool,
  batch_size: int,
  tracks: bool,
) -> Batch:
  """Returns a batch of training as ShapeDtypeStructs, see `batching.stack`.

  Args:
    clip: how every clip looks.
    text: encodes captions; None gives batches without text.
    packing: gives every batch a layout; None gives it none.
    mixed: whether clips are mixed with each other.
    batch_size: B, of the global batch.
    tracks: whether clips have tracks.
  """

  def array(dtype, *shape):
    return jax.ShapeDtypeStruct((batch_size, *shape), dtype)

  frames, size, grid = clip.frames, clip.size, clip.track_grid
  words = layout = None
  if text is not None:
    words = Text(array(np.int32, text.length), array(np.bool_, text.length))
  if packing is not None:
    layout = Layout(array(np.int32), array(np.int32), packing.group)
  return Batch(
    clip=Clip(
      frames=array(np.uint8, frames, size, size, 3),
      frame_mask=array(np.bool_, frames),
      times=array(np.float32, frames),
      tracks=array(np.int32, frames, grid, grid) if tracks else None,
    ),
    text=words,
    clip_id=array(np.int32),
    label=array(np.int32),
    layout=layout,
    mix=Mix(array(np.int32), array(np.float32)) if mixed else None,
  )
