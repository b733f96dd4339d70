"""A trained encoder to call with arrays, files and captions."""

import itertools
import os
from collections.abc import Callable, Iterator

import jax
import numpy as np

from trajvit.export.arrays import as_frames, as_text, as_tracks
from trajvit.export.frames import with_frames
from trajvit.export.raw import (
  caption_ids,
  extract_tracks,
  read_clip,
  windows,
)
from trajvit.types import Tokens


class Encoder:
  """A trained encoder: clips, and captions if it has a text tower.

  Weights go to the default device once; a program is compiled the first time a
  batch size comes.

  Args:
    config: see below.
    preprocessing: likewise.
    weights: likewise, arrays of any kind.
    programs: name -> `(weights, *inputs) -> outputs`, compiled when called.

  Attributes:
    config: what was trained; of an export, how it was made and its parity.
    preprocessing: what a clip must look like.
    weights: by name, on the device.
  """

  def __init__(
    self,
    config: dict,
    preprocessing: dict,
    weights: dict,
    programs: dict[str, Callable],
  ):
    self.config, self.preprocessing = config, preprocessing
    self.weights = jax.device_put(weights)
    self._programs = programs

  def encode(self, video, tracks=None) -> jax.Array | dict:
    """Returns the embedding of a clip, float32 of norm 1; or its tokens.

    The tokens are those of a connector, for a language model.

    Args:
      video: uint8 RGB, [B, T, H, W, 3] or [T, H, W, 3]; or the path of a video
        file, from which frames are taken as for an evaluation (this needs PyAV
        and Pillow); or a list of B of either, a clip each. T is what the model
        was trained with; `preprocessing["any_frames"]` says if it takes others.
      tracks: integers in [0, M), or -1 for none, [B, T, h, w] or [T, h, w], on
        the track grid or at pixel resolution. None extracts them from the
        pixels where the encoder needs them (this needs trajvit[tracks]).

    Returns:
      [B, E]; or of a connector {"features": [B, N, D], "mask": [B, N] bool};
      without the leading B for one clip.

    Raises:
      ValueError: the video or the tracks are not as above, or tracks are given
        to an encoder that reads none, or it has no such program.
      BrokenClip: a file cannot be read.
    """
    return self._run("encode", video, tracks)

  def check(self, frames, tracks=None) -> None:
    """Raises ValueError unless `encode` takes these arrays, of one clip or B.

    Args:
      frames: as in `encode`, no file.
      tracks: as in `encode`; None is refused where tracks are read.
    """
    clip, _ = as_frames(frames, self.preprocessing)
    needed = self.preprocessing["tracks"] is not None
    if needed != (tracks is not None):
      raise ValueError(
        f"this encoder reads {'' if needed else 'no '}tracks, got "
        f"{'none' if tracks is None else 'tracks'}"
      )
    if needed:
      as_tracks(tracks, clip.shape[:2], self.preprocessing)

  def encode_long(
    self,
    video,
    window: float,
    stride: float,
    *,
    fps: float | None = None,
    frames: int | None = None,
    batch_size: int = 8,
  ) -> Iterator[tuple[np.ndarray, jax.Array]]:
    """Yields embeddings of windows of a long video, in little memory.

    Args:
      video: path of a file, or uint8 RGB [N, H, W, 3] of any size.
      window: seconds of a window.
      stride: seconds from the start of a window to that of the next. The last
        window is the first that reaches the end, and may be shorter.
      fps: frames a second of an array; a file has its own.
      frames: how many are taken of a window, None as many as of a file; see
        `encode` for which can be.
      batch_size: windows that are decoded and encoded at once.

    Yields:
      times [b, 2] float64, start and end of windows in seconds; and their
      embeddings [b, E], b at most `batch_size`. Tracks, where the encoder needs
      them, are extracted from the pixels of each window.

    Raises:
      ValueError: a window, a stride, a rate, a number of frames or an array
        that cannot be.
      BrokenClip: the file cannot be read.
    """
    clip = self.preprocessing
    if frames is not None:
      clip = with_frames(clip, frames)
    parts = windows(video, window, stride, fps, clip)
    while batch := list(itertools.islice(parts, batch_size)):
      times, clips = zip(*batch, strict=True)
      yield np.array(times), self.encode(np.stack(clips))

  def tokenize(self, video, tracks=None) -> Tokens:
    """Returns the tokens of a clip, before the encoder.

    Args:
      video: as in `encode`.
      tracks: as in `encode`.

    Returns:
      Tokens, without the leading B for one clip.

    Raises:
      ValueError: as in `encode`.
    """
    return Tokens(**self._run("tokenize", video, tracks))

  def encode_text(self, text, mask=None) -> jax.Array:
    """Returns the embedding of captions, float32 of norm 1.

    Args:
      text: captions, a list of strings or a single one; or word ids, integers
        in [0, vocab_size), [B, L].
      mask: with word ids: bool, [B, L], True = real word.

    Returns:
      [B, E], or [E] for a single string.

    Raises:
      ValueError: not as above, or the encoder has no text tower.
    """
    known = self.preprocessing["text"]
    if known is None:
      raise ValueError("this encoder has no text tower")
    single = isinstance(text, str)
    if mask is None:
      text, mask = caption_ids([text] if single else text, known)
    embedding = self._call("encode_text", *as_text(text, mask, known))
    return embedding[0] if single else embedding

  def _several(self, videos) -> np.ndarray:
    """Clips [B, T, H, W, 3] of files or arrays [T, H, W, 3]."""
    if not videos:
      raise ValueError("video must be one clip or more, got an empty list")
    clips = [
      read_clip(video, self.preprocessing)
      if isinstance(video, str | os.PathLike)
      else np.asarray(video)
      for video in videos
    ]
    shapes = sorted({clip.shape for clip in clips})
    if len(shapes) > 1:
      raise ValueError(f"clips of a list must be alike, got {shapes}")
    return np.stack(clips)

  def _run(self, name, video, tracks):
    if isinstance(video, str | os.PathLike):
      video = read_clip(video, self.preprocessing)
    elif isinstance(video, list | tuple):
      video = self._several(video)
    frames, single = as_frames(video, self.preprocessing)
    inputs = [frames]
    if self.preprocessing["tracks"] is not None:
      if tracks is None:
        tracks = extract_tracks(frames, self.preprocessing)
      inputs.append(as_tracks(tracks, frames.shape[:2], self.preprocessing))
    elif tracks is not None:
      raise ValueError("this encoder reads no tracks, got tracks")
    outputs = self._call(name, *inputs)
    return jax.tree.map(lambda x: x[0], outputs) if single else outputs

  def program(self, name: str):
    """Returns a program, `(weights, *inputs) -> outputs`, to call under jit.

    Raises:
      ValueError: there is no such program.
    """
    if name not in self._programs:
      raise ValueError(
        f"this encoder has no program {name!r}; it has "
        f"{', '.join(self._programs)}"
      )
    return self._programs[name]

  def _call(self, name, *inputs):
    return self.program(name)(self.weights, *inputs)
