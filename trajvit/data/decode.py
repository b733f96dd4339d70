"""Frames out of video files, still images, and videos written: through PyAV.

Everything that can be wrong with a file is a `BrokenClip` with one line of
reason. Files are closed when a function returns.
"""

import contextlib
import fractions
import itertools
import os
from collections.abc import Callable, Iterable, Sequence

import av
import numpy as np
from PIL import Image, ImageOps

from trajvit.data.example import BrokenClip
from trajvit.data.media import Blob, Media, media_name
from trajvit.data.video_reader import VideoInfo, one_line, open_video

_ENCODERS = ("libx264", "libopenh264", "mpeg4")


def probe(media: Media) -> VideoInfo:
  """Returns what a video is, having decoded its first frame.

  Raises:
    BrokenClip: it cannot be read.
  """
  with open_video(media) as video:
    return video.info


def decode_frames(
  media: Media,
  indices: Sequence[int] | np.ndarray,
  size: tuple[int, int] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
  """Returns the frames at `indices`, in that order.

  Args:
    media: the video.
    indices: T frame numbers in [0, num_frames), in any order, also repeated.
    size: (height, width) to resize to while decoding, bilinear and
      antialiased; None keeps the video's own.

  Returns:
    frames: [T, H, W, 3] uint8 RGB.
    times: [T] float32, seconds from the first frame of the video.

  Raises:
    BrokenClip: the file cannot be read, or ends before a frame asked for.
    ValueError: an index is outside of the video.
  """
  return decode_clip(media, lambda info: (indices, size))


def decode_clip(
  media: Media, choose: Callable[[VideoInfo], tuple]
) -> tuple[np.ndarray, np.ndarray]:
  """Like `decode_frames`, for who must see the video to choose the frames.

  Args:
    media: the video; it is opened once.
    choose: from the VideoInfo to (indices, size).

  Returns:
    What `decode_frames` does.

  Raises:
    BrokenClip: likewise; whatever `choose` raises comes through.
    ValueError: an index is outside of the video.
  """
  with open_video(media) as video:
    indices, size = choose(video.info)
    return video.read(np.asarray(indices), size)


def read_image(media: Media) -> np.ndarray:
  """Returns an image file as [H, W, 3] uint8 RGB, upright.

  Raises:
    BrokenClip: it cannot be read.
  """
  try:
    file = media.open() if isinstance(media, Blob) else media
    with Image.open(file) as image:
      return np.array(ImageOps.exif_transpose(image).convert("RGB"))
  except (
    OSError,
    ValueError,
    SyntaxError,  # Pillow's word for a broken PNG
    Image.DecompressionBombError,
  ) as error:
    raise BrokenClip(media_name(media), one_line(error)) from error


def write_video(
  path: str | os.PathLike,
  frames: np.ndarray,
  fps: float,
  *,
  key_interval: int = 12,
) -> None:
  """Writes a video: H.264 where there is an encoder for it, else MPEG-4.

  Equal frames give equal files, byte for byte, with one build of PyAV.

  Args:
    path: the file; its suffix names the container.
    frames: [T, H, W, 3] uint8 RGB; T at least 1, H and W even.
    fps: frame rate.
    key_interval: frames from one key frame to the next; few make jumping
      about in the file quick.

  Raises:
    ValueError: `frames` is not as above.
    OSError: the file cannot be written.
  """
  write_video_pieces(path, [frames], fps, key_interval=key_interval)


def write_video_pieces(
  path: str | os.PathLike,
  pieces: Iterable[np.ndarray],
  fps: float,
  *,
  key_interval: int = 12,
) -> None:
  """Like `write_video`, of frames that come a piece at a time.

  Args:
    path: the file; its suffix names the container.
    pieces: one or more of [n, H, W, 3] uint8 RGB, all of one size, as above.
    fps: frame rate.
    key_interval: frames from one key frame to the next.

  Raises:
    ValueError: a piece is not as above.
    OSError: the file cannot be written.
  """
  pieces = iter(pieces)
  first = next(pieces)
  _check_frames(first)
  with av.open(os.fspath(path), "w") as container:
    rate = fractions.Fraction(fps).limit_denominator(1001)
    stream = container.add_stream(_encoder(), rate=rate)
    stream.height, stream.width = first.shape[1:3]
    stream.pix_fmt = "yuv420p"
    stream.gop_size = key_interval
    if stream.codec_context.name == "libx264":
      # The encoder's tree of macroblocks is not the same at every run.
      stream.options = {
        "crf": "18",
        "preset": "veryfast",
        "x264-params": "mbtree=0",
      }
    for frames in itertools.chain([first], pieces):
      for frame in frames:
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        # By several threads the conversion is not always the same to the bit.
        picture = picture.reformat(format=stream.pix_fmt, threads=1)
        container.mux(stream.encode(picture))
    container.mux(stream.encode(None))


def _check_frames(frames) -> None:
  """Raises ValueError for what cannot be encoded."""
  if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
    raise ValueError(
      f"frames must be [T, H, W, 3] uint8, got {frames.dtype} {frames.shape}"
    )
  if not len(frames) or frames.shape[1] % 2 or frames.shape[2] % 2:
    raise ValueError(
      "frames must be at least one, of even height and width, got "
      f"{len(frames)} of {frames.shape[1]} x {frames.shape[2]}"
    )


def _encoder() -> str:
  for name in _ENCODERS:
    with contextlib.suppress(av.codec.codec.UnknownCodecError):
      return av.codec.Codec(name, "w").name
  raise ValueError(f"this build of PyAV has none of {', '.join(_ENCODERS)}")
