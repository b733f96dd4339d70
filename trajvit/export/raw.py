"""From files, pixels and words to the arrays an exported encoder reads.

Here alone the loader of an export meets the data side, whose libraries are
imported when they are needed: with arrays in hand, none of them is.
"""

import os
from collections.abc import Sequence

import numpy as np


def read_clip(path: str | os.PathLike, preprocessing: dict) -> np.ndarray:
  """Returns the clip that an evaluation takes from a video.

  Args:
    path: of the video.
    preprocessing: of the export.

  Returns:
    [T, H, W, 3] uint8 RGB.

  Raises:
    BrokenClip: the file cannot be read.
  """
  from trajvit.data.decode import decode_clip  # noqa: PLC0415
  from trajvit.data.sampling import SAMPLERS  # noqa: PLC0415
  from trajvit.data.transforms import (  # noqa: PLC0415
    VIEWS,
    apply_view,
    decoded_size,
  )

  sampler = SAMPLERS[preprocessing["sampler"]]
  size = preprocessing["size"]

  def choose(info):
    indices = sampler(info.num_frames, preprocessing["frames"])
    return indices, decoded_size(info.height, info.width, size)

  frames, _ = decode_clip(path, choose)
  view = VIEWS[preprocessing["view"]](*frames.shape[1:3])
  return apply_view(view, frames, None, size=size, track_grid=size)[0]


def extract_tracks(frames: np.ndarray, preprocessing: dict) -> np.ndarray:
  """Returns tracks found in the pixels, [B, T, H, W] int32.

  Args:
    frames: [B, T, H, W, 3] uint8 RGB.
    preprocessing: of the export.

  Raises:
    ValueError: the libraries of trajvit[tracks] are not there.
  """
  try:
    from trajvit.data.extract import (  # noqa: PLC0415
      extract_tracks as extract,
    )
  except ImportError as error:
    raise ValueError(
      "this encoder needs tracks: give them as tracks=, or install "
      f"trajvit[tracks] to extract them from the pixels ({error})"
    ) from error
  count = preprocessing["tracks"]["max_tracks"]
  clips = [extract(clip, max_tracks=count) for clip in frames]
  return np.stack(clips)


def caption_ids(
  captions: Sequence[str], text: dict
) -> tuple[np.ndarray, np.ndarray]:
  """Returns ids int32 and mask bool, both [B, L].

  Args:
    captions: B captions, at least one.
    text: the part of the preprocessing on text.

  Raises:
    ValueError: `captions` is no list of strings.
  """
  from trajvit.data.text import TEXT_TOKENIZERS  # noqa: PLC0415

  if not all(isinstance(caption, str) for caption in captions):
    raise ValueError(
      "text must be captions, or word ids together with mask=; "
      f"got {type(captions).__name__} without mask"
    )
  if not len(captions):
    raise ValueError("text must be one caption or more, got none")
  tokenizer = TEXT_TOKENIZERS.build(text["tokenizer"])
  ids, masks = zip(*map(tokenizer.encode, captions), strict=True)
  return np.stack(ids), np.stack(masks)
