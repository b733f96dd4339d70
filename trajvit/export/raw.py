"""From files, pixels and words to the arrays an exported encoder reads.

Here alone the loader of an export meets the data side, whose libraries are
imported when they are needed: with arrays in hand, none of them is.
"""

import os
from collections.abc import Iterator, Sequence

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
  from trajvit.data.clips import StoredClip  # noqa: PLC0415

  stored = StoredClip(os.fspath(path), os.fspath(path), False, 0)
  return _reader(preprocessing).read(stored, None).frames


def windows(
  video,
  window: float,
  stride: float,
  fps: float | None,
  preprocessing: dict,
) -> Iterator[tuple[tuple[float, float], np.ndarray]]:
  """Yields ((start, end) in seconds, clip [T, H, W, 3]) of a long video.

  Args:
    video: path of a file, or uint8 RGB [N, H, W, 3] of any size.
    window: seconds of a window.
    stride: seconds from one to the next.
    fps: of an array; None for a file.
    preprocessing: of the encoder.

  Raises:
    ValueError: not as above.
    BrokenClip: the file cannot be read.
  """
  from trajvit.data.clips import StoredClip  # noqa: PLC0415
  from trajvit.data.decode import probe  # noqa: PLC0415

  if not (window > 0 and stride > 0):
    raise ValueError(
      f"window and stride must be above 0 s, got {window} and {stride}"
    )
  is_file = isinstance(video, str | os.PathLike)
  if is_file != (fps is None):
    raise ValueError("fps is for arrays, which need it, and not for files")
  if is_file:
    name, media, duration = str(video), str(video), probe(video).duration
  else:
    media = np.asarray(video)
    if media.dtype != np.uint8 or media.ndim != 4 or media.shape[-1] != 3:
      raise ValueError(
        "video must be uint8 RGB [N, H, W, 3], "
        f"got {media.dtype} {list(media.shape)}"
      )
    if not len(media) or not fps > 0:
      raise ValueError(
        f"video must have frames and fps be above 0, got {len(media)}, {fps}"
      )
    name, duration = "video", len(media) / fps
  reader = _reader(preprocessing)
  start = 0.0
  while True:
    end = min(start + window, duration)
    stored = StoredClip(
      name, media, False, 0, start=start, end=end, fps=fps or 1.0
    )
    yield (start, end), reader.read(stored, None).frames
    if start + window >= duration:
      return
    start += stride


def _reader(preprocessing: dict):
  """A ClipReader of frames alone, as an evaluation sees them."""
  from trajvit.data.clips import ClipReader  # noqa: PLC0415
  from trajvit.data.example import ClipSpec  # noqa: PLC0415

  spec = ClipSpec(
    frames=preprocessing["frames"],
    size=preprocessing["size"],
    track_grid=preprocessing["size"],
    max_tracks=1,
    sampler=preprocessing["sampler"],
    augment=preprocessing["view"],
  )
  return ClipReader(spec, "none")


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
