"""One open video: which frames it has, and decoding them in one pass.

Frame i is the picture on screen i / fps seconds after the first one. For a
constant frame rate that is simply the i-th frame; for a variable one it is
sampling in time. Positions come from timestamps, so that a frame is the same
one whether it was reached by decoding on or by seeking. Files without
presentation times (AVI, bare H.264) are counted through from the start.

Frames that nobody asked for and no other frame is predicted from are passed
over: of a clip spread over its video that is near to half of the decoding.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import av
import numpy as np
from av.stream import Disposition

from trajvit.data.example import BrokenClip
from trajvit.data.media import Blob, Media, media_name, media_size

# Titles that are not UTF-8 are no reason to fail; from 19 on PyAV agrees.
_LENIENT = (
  {"metadata_errors": "ignore"}
  if int(av.__version__.split(".")[0]) < 19
  else {}
)
# How many frames a seek must spare. It is cheap, but the decoder is always some
# frames ahead of what it has shown, and then decodes these in vain.
_SPARED = 5
_DECODE_ON = 40  # the same where it is not known how far a seek leads
# Where what the decoder calls no reference is none, which HEVC does not say.
_PASSES_OVER = ("h264",)


@dataclasses.dataclass(frozen=True)
class VideoInfo:
  """What is known of a video before its frames are decoded.

  Attributes:
    num_frames: as the container says, or counted where it does not.
    fps: mean frame rate.
    duration: num_frames / fps, in seconds.
    width: pixels, as shown: after the rotation that phones note.
    height: pixels, likewise.
  """

  num_frames: int
  fps: float
  duration: float
  width: int
  height: int


@contextlib.contextmanager
def open_video(media: Media) -> Iterator["VideoReader"]:
  """Opens a video for a `with` block, after which nothing of it stays open.

  Raises:
    BrokenClip: it cannot be opened, or PyAV fails on it inside of the block.
  """
  name = media_name(media)
  try:
    if media_size(media) == 0:
      raise BrokenClip(name, "the file is empty")
    with (
      _open(media) as container,
      contextlib.closing(VideoReader(media, container)) as video,
    ):
      yield video
  except (av.FFmpegError, OSError) as error:
    raise BrokenClip(name, one_line(error)) from error


def _open(media: Media):
  """Opens a container; one in memory by as many readers as ask."""
  file = media.open() if isinstance(media, Blob) else os.fspath(media)
  return av.open(file, **_LENIENT)


def one_line(error: Exception) -> str:
  """What an exception says, without the path that BrokenClip adds."""
  reason = getattr(error, "strerror", None) or str(error)
  return " ".join(reason.split()) or type(error).__name__


@dataclasses.dataclass(frozen=True)
class _Shown:
  """A decoded frame, and where it stands.

  Attributes:
    frame: the picture.
    index: the first index that it is shown at.
    span: for how many it is.
    damaged: index of a damaged frame that it is made from, perhaps its own;
      None if there is none.
  """

  frame: av.VideoFrame
  index: int
  span: int
  damaged: int | None


class VideoReader:
  """An open video that decodes on from where it is; see `open_video`.

  Attributes:
    info: the VideoInfo.
  """

  def __init__(self, media: Media, container):
    """Decodes the first frame.

    Raises:
      BrokenClip: there is none.
    """
    self._path = path = media_name(media)
    self._container = container
    self._stream = _picture_stream(path, container)
    # One thread a clip: the loader reads many clips at once.
    self._stream.codec_context.thread_count = 1
    num_frames, self._fps, self._start = _extent(media, self._stream)
    self._index_per_tick = float(self._stream.time_base) * self._fps
    self._decode_on, self._trusts_index = _DECODE_ON, True
    self._damaged = None  # the first damaged frame since a key frame
    self._wanted, self._last = None, 0  # indices asked for; None is all
    self._passed = []  # indices passed over since a seek
    self._decoded = self._decode_packets()
    self._ahead = None  # a frame decoded before its time has come
    self._shown = self._decode(follows=-1)
    if self._shown is None:
      raise BrokenClip(path, "no frame can be decoded")
    frame = self._shown.frame
    self._passes_over = (
      self._start is not None
      and self._stream.codec_context.name in _PASSES_OVER
      and not frame.interlaced_frame  # a frame may then be two packets
    )
    height, width = frame.height, frame.width
    if _quarter_turns(frame) % 2:
      height, width = width, height
    self.info = VideoInfo(
      num_frames, self._fps, num_frames / self._fps, width, height
    )

  def close(self) -> None:
    """Ends the decoder, which would otherwise keep the file open."""
    self._decoded.close()
    self._shown = self._ahead = None

  def read(
    self, indices: np.ndarray, size: tuple[int, int] | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Decodes frames in one pass from the first to the last asked for.

    Args:
      indices: [T] int in any order, also repeated; none before what an
        earlier call has read.
      size: (height, width) to resize to, bilinear and antialiased; None keeps
        the video's own.

    Returns:
      frames: [T, H, W, 3] uint8 RGB, in the order of `indices`.
      times: [T] float32, seconds from the first frame of the video.

    Raises:
      BrokenClip: a frame is missing or damaged.
      ValueError: an index is outside of the video.
    """
    wanted, order = np.unique(indices, return_inverse=True)
    total = self.info.num_frames
    if not len(wanted) or wanted[0] < 0 or wanted[-1] >= total:
      raise ValueError(
        f"{self._path}: frame indices must be one or more in [0, {total}), "
        f"got {np.asarray(indices).tolist()}"
      )
    height, width = size or (self.info.height, self.info.width)
    self._wanted = set(wanted.tolist()) if self._passes_over else None
    self._last = int(wanted[-1])
    frames = np.empty((len(wanted), height, width, 3), np.uint8)
    times = np.empty(len(wanted), np.float32)
    for i, index in enumerate(wanted.tolist()):
      try:
        frame = self._at(index)
      except av.FFmpegError as error:
        raise self._missing(index, one_line(error)) from error
      frames[i] = _upright_rgb(frame, height, width)
      times[i] = self._seconds(frame, index)
    if (order == np.arange(len(order))).all():  # most often; they are large
      return frames, times
    return frames[order], times[order]

  def _at(self, index) -> av.VideoFrame:
    """Returns the frame shown at `index`, which never decreases."""
    here = self._shown.index
    if self._seek_pays(index, here):
      self._seek(index, here)
    is_there = self._decode_to(index)
    if any(self._shown.index < passed <= index for passed in self._passed):
      # No frame begins just there, and the one on screen was passed over.
      self._passes_over, self._wanted = False, None
      self._seek(index, here=-1)
      is_there = self._decode_to(index)
    if not is_there:
      raise self._missing(index, "the file ends there")
    if self._shown.damaged is not None:
      raise BrokenClip(self._path, f"frame {self._shown.damaged} is damaged")
    return self._shown.frame

  def _seek_pays(self, index, here) -> bool:
    """Whether a key frame, or enough frames, lie between two indices."""
    if self._start is None or self._container.format.name == "mpegts":
      return False  # a transport stream lands anywhere, and may not say where
    if index - here > self._decode_on:
      return True
    entries = self._stream.index_entries if self._trusts_index else ()
    if index - here <= _SPARED or not len(entries):
      return False
    shift = self._start - entries[0].timestamp  # from decoding to showing
    ticks = self._start + round(index / self._index_per_tick) - shift
    place = entries.search_timestamp(ticks)
    if place < 0:
      return False
    ticks = entries[place].timestamp + shift - self._start
    return ticks * self._index_per_tick - here > _SPARED

  def _decode_to(self, index) -> bool:
    """Decodes on until a frame at `index` is shown; tells whether there is."""
    while self._shown.index < index:
      if self._ahead is None:
        self._ahead = self._decode(follows=self._shown.index)
      if self._ahead is None:  # perhaps the last frame is shown for long
        return index < self._shown.index + self._shown.span
      if self._ahead.index > index:
        break
      self._shown, self._ahead = self._ahead, None
    return True

  def _missing(self, index, reason) -> BrokenClip:
    return BrokenClip(
      self._path,
      f"frame {index} of {self.info.num_frames} is missing, the last one "
      f"decoded is {self._shown.index}: {reason}",
    )

  def _decode_packets(self) -> Iterator[av.VideoFrame]:
    """Decodes from where the file is, all that is wanted or needed for it."""
    codec = self._stream.codec_context
    # Left to the garbage collector, PyAV never gives back the last packet.
    with contextlib.closing(self._container.demux(self._stream)) as packets:
      for packet in packets:
        passes = self._may_pass(packet)
        codec.skip_frame = "NONREF" if passes else "DEFAULT"
        yield from packet.decode()

  def _may_pass(self, packet) -> bool:
    """Whether nobody asked for the frame in a packet."""
    if not self._wanted or packet.pts is None:
      return False
    index = round((packet.pts - self._start) * self._index_per_tick)
    # The next call may ask for what comes after this one's last frame.
    if index in self._wanted or index > self._last:
      return False
    self._passed.append(index)
    return True

  def _decode(self, follows) -> _Shown | None:
    """Decodes one more frame, the one after index `follows`, if there is."""
    with _late_streams(self._path):
      frame = next(self._decoded, None)
    if frame is None:
      return None
    index, span = follows + 1, 1
    if self._start is not None and frame.pts is not None:
      index = round((frame.pts - self._start) * self._index_per_tick)
      span = max(round((frame.duration or 0) * self._index_per_tick), 1)
    # The decoder marks the frame that it patched up, and none of those that
    # it then predicts from it.
    if frame.key_frame:
      self._damaged = None
    if frame.is_corrupt and self._damaged is None:
      self._damaged = index
    return _Shown(frame, index, span, self._damaged)

  def _seek(self, index, here) -> None:
    """Goes on at a key frame before `index`, coming from `here`."""
    back = 0
    while True:
      target = max(index - back, 0)
      self._decoded.close()
      self._container.seek(
        self._start + round(target / self._index_per_tick), stream=self._stream
      )
      self._decoded = self._decode_packets()
      self._passed.clear()
      self._ahead = self._damaged = None
      landed = self._decode(follows=-1)
      if landed and landed.index <= index and landed.frame.pts is not None:
        break
      if target == 0:
        raise BrokenClip(self._path, f"cannot seek to frame {index}")
      back = max(2 * back, 16)  # frames are stored out of order: land earlier
    self._shown = landed
    if landed.index <= here:
      # There was no key frame in between: this far, decoding on is cheaper.
      self._decode_on = max(self._decode_on, 2 * (index - landed.index))
      self._trusts_index = False

  def _seconds(self, frame, index) -> float:
    if self._start is None or frame.pts is None:
      return index / self._fps
    tick = self._stream.time_base
    return (frame.pts - self._start) * tick.numerator / tick.denominator


@contextlib.contextmanager
def _late_streams(path) -> Iterator[None]:
  """PyAV has an IndexError for a stream that begins in mid-file."""
  try:
    yield
  except IndexError as error:
    raise BrokenClip(path, "a stream begins in mid-file") from error


def _picture_stream(path, container):
  """The first video stream that is not the cover of a song."""
  for stream in container.streams.video:
    if stream.disposition & Disposition.attached_pic:
      continue
    if stream.codec_context is None:
      raise BrokenClip(path, "no decoder for this kind of video")
    return stream
  kinds = ", ".join(sorted({stream.type for stream in container.streams}))
  raise BrokenClip(
    path, f"no video in it, only {kinds or 'an empty container'}"
  )


def _extent(media, stream) -> tuple[int, float, int | None]:
  """Returns (number of frames, frame rate, first timestamp) of a stream.

  The timestamp is None where frames have none that can be relied on.
  """
  rate = stream.average_rate or stream.guessed_rate
  if not stream.frames or not rate:
    return _counted(media, stream.index, rate)
  num_frames, start = stream.frames, stream.start_time or 0
  if stream.duration:  # shorter than its frames where an edit list cuts it
    shown = round(stream.duration * stream.time_base * rate)
    num_frames = max(1, min(num_frames, shown))
  if stream.container.format.name == "avi":  # stores decoding times only
    start = None
  return num_frames, float(rate), start


def _counted(media, stream_index, rate) -> tuple[int, float, int | None]:
  """`_extent` for containers that do not say: reads all packets, decodes none.

  The frame rate is then the one that puts the last frame at n - 1.
  """
  path = media_name(media)
  with _open(media) as container:
    stream = container.streams[stream_index]
    with _late_streams(path):
      times = [packet.pts for packet in container.demux(stream) if packet.size]
    ticks_per_second = 1 / float(stream.time_base)
  if not times:
    raise BrokenClip(path, "the video stream is empty")
  if None in times:
    return len(times), float(rate or 1), None
  span = max(times) - min(times)
  if span:
    rate = (len(times) - 1) / span * ticks_per_second
  return len(times), float(rate or 1), min(times)


def _quarter_turns(frame) -> int:
  """By how many quarters a frame is turned, against the clock, to be shown."""
  return round(frame.rotation / 90) % 4


def _upright_rgb(frame, height, width) -> np.ndarray:
  """A frame as [height, width, 3] uint8, turned the way it is shown."""
  turns = _quarter_turns(frame)
  if turns % 2:
    height, width = width, height
  rgb = frame.to_ndarray(
    format="rgb24",
    height=height,
    width=width,
    interpolation="BILINEAR",
    threads=1,
  )
  return np.rot90(rgb, turns)
