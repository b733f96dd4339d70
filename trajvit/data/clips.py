"""From a clip as it is stored, in whatever format, to an Example."""

import contextlib
import dataclasses
import functools
import importlib
from collections.abc import Callable

import numpy as np
from absl import logging

from trajvit.data import decode, transforms
from trajvit.data.augment import Augment, Footage
from trajvit.data.example import BrokenClip, ClipSpec, Example
from trajvit.data.media import Media, media_name
from trajvit.data.sampling import SAMPLERS, middle
from trajvit.data.sidecar_stream import open_sidecars
from trajvit.data.tracks import label_map, limit_tracks, load_sidecars
from trajvit.data.video_reader import VideoInfo

TRACKS = ("none", "sidecar", "extract", "auto")
Sidecars = tuple[Media, Media | None]


def no_sidecars() -> None:
  """The sidecar pair of a clip that has none."""
  return None


@dataclasses.dataclass(frozen=True)
class StoredClip:
  """One clip of a source, before anything of it is decoded.

  Attributes:
    name: what messages call it.
    media: its file, or the frames themselves, [n, H, W, 3] uint8 RGB.
    is_image: whether it is a still image.
    clip_id: see Example.
    captions: all of them.
    label: class, -1 = unknown.
    labels: all classes, of a clip that may have several or none.
    start: where in the video the clip begins, in seconds.
    end: where it ends, or None for the end of the video.
    fps: of `media` that is frames; a file has its own.
    sidecars: returns the (mask, graph) files of its tracks, or None if there
      are none; raises BrokenClip if there should be.
  """

  name: str
  media: Media | np.ndarray
  is_image: bool
  clip_id: int
  captions: tuple[str, ...] = ()
  label: int = -1
  labels: tuple[int, ...] = ()
  start: float = 0.0
  end: float | None = None
  fps: float = 1.0
  sidecars: Callable[[], Sidecars | None] = no_sidecars


class ClipReader:
  """Reads stored clips as a ClipSpec says.

  A video gives T frames chosen by `clip.sampler`, without chance in the
  evaluation view; one of fewer frames repeats them, and so does an image, of
  which with `clip.images` "single" only the first frame is real. Frames are
  decoded to at most twice `clip.size` along their shorter side; `clip.augment`
  then sees frames, tracks and captions together.

  Tracks come from a pair of sidecar files (see `trajvit.data.tracks`) or are
  extracted from the pixels that the view shows, which costs far more than
  decoding. A pair is for all frames of its video, or for T of them: it then
  holds the "middle" ones of the clip, as TrajViT makes it, and those are the
  frames taken, whatever the sampler.

  Attributes:
    extracted: for how many clips so far tracks were extracted from pixels.
  """

  def __init__(self, clip: ClipSpec, tracks: str):
    """Looks up what `clip` names.

    Args:
      clip: how every clip looks.
      tracks: "none"; "sidecar", without which a clip is broken; "extract",
        from pixels; or "auto", a sidecar pair where there is one, else
        extracted.

    Raises:
      ValueError: an unknown name.
    """
    if tracks not in TRACKS:
      raise ValueError(
        f"tracks must be one of {', '.join(TRACKS)}, got {tracks!r}"
      )
    self._clip, self._tracks = clip, tracks
    self._sampler = SAMPLERS[clip.sampler]
    self._augment = Augment(clip)
    self._extracted = set()

  @property
  def extracted(self) -> int:
    """For how many clips tracks were extracted from pixels."""
    return len(self._extracted)

  def read(
    self, stored: StoredClip, rng: np.random.Generator | None
  ) -> Example:
    """Returns a clip; see `trajvit.data.example.Source` for `rng`.

    Raises:
      BrokenClip: the video or its sidecar pair cannot be read.
      ValueError: tracks must be extracted and the packages for it are missing.
    """
    if stored.is_image:
      frames, times, tracks = self._read_image(stored)
    else:
      frames, times, tracks = self._read_video(stored, rng)
    find_tracks = None
    if self._tracks != "none":
      find_tracks = functools.partial(self._extract, stored.name)
    seen = self._augment(
      Footage(frames, times, tracks, stored.captions), rng, find_tracks
    )
    frames, times, tracks = seen.frames, seen.times, seen.tracks
    dropped, frame_mask = 0, None
    if tracks is not None:
      tracks, dropped = limit_tracks(tracks, self._clip.max_tracks)
    if stored.is_image:
      frames, times, tracks = (
        None if x is None else np.repeat(x, self._clip.frames, axis=0)
        for x in (frames, times, tracks)
      )
      if self._clip.images == "single":
        frame_mask = np.arange(self._clip.frames) == 0

    captions = seen.captions
    if rng is not None and captions:
      captions = (captions[rng.integers(len(captions))],)
    return Example(
      frames=frames,
      times=times,
      tracks=tracks,
      captions=captions,
      clip_id=stored.clip_id,
      label=stored.label,
      labels=stored.labels,
      name=stored.name,
      dropped_tracks=dropped,
      frame_mask=frame_mask,
    )

  def _read_image(self, stored):
    """Returns frames [1, H, W, 3], times [1] and tracks [1, H', W'] or None."""
    tracks = None
    if isinstance(stored.media, np.ndarray):
      frames = stored.media
    else:
      frames = decode.read_image(stored.media)[None]
    pair = self._sidecars(stored)
    if pair:
      with _broken(stored.name):
        tracks = label_map(*load_sidecars(*pair), name=media_name(pair[0]))
    return frames, np.zeros(1, np.float32), tracks

  def _read_video(self, stored, rng):
    """Returns frames [T, H, W, 3], times [T] and tracks [T, H', W'] or None."""
    pair, tracks = self._sidecars(stored), None

    def choose(info):
      nonlocal tracks
      first, count = clip_extent(stored, info.num_frames, info.fps)
      if pair:
        with _broken(stored.name):
          indices, tracks = self._read_tracks(
            stored, pair, (first, count, info.num_frames), rng
          )
      else:
        indices = first + self._sample(count, rng)
      size = transforms.decoded_size(info.height, info.width, self._clip.size)
      return indices, size

    if isinstance(stored.media, np.ndarray):
      indices, _ = choose(_array_info(stored.media, stored.fps))
      frames = stored.media[indices]
      times = (indices / stored.fps).astype(np.float32)
    else:
      frames, times = decode.decode_clip(stored.media, choose)
    return frames, times, tracks

  def _read_tracks(self, stored, pair, extent, rng):
    """Returns which frames to decode, [T], and their tracks [T, H', W']."""
    first, count, num_frames = extent
    with open_sidecars(*pair) as sidecars:
      held = sidecars.shape[0]
      if held == num_frames:
        indices = chosen = first + self._sample(count, rng)
      elif held == self._clip.frames:
        indices = first + middle(count, self._clip.frames)
        chosen = np.arange(held)
      else:
        raise ValueError(
          f"{media_name(pair[0])}: {held} frames of tracks for a clip of "
          f"{self._clip.frames} from a video of {num_frames}"
        )
      return indices, sidecars.labels_at(chosen)

  def _sample(self, count, rng) -> np.ndarray:
    place = self._clip.view[0] if rng is None else None
    return self._sampler(count, self._clip.frames, rng, place)

  def _sidecars(self, stored) -> Sidecars | None:
    """The sidecar pair to read, or None where tracks come from pixels."""
    if self._tracks in ("none", "extract"):
      return None
    pair = stored.sidecars()
    if pair is None and self._tracks == "sidecar":
      raise BrokenClip(stored.name, "it has no sidecar pair of tracks")
    return pair

  def _extract(self, name, frames) -> np.ndarray:
    """Returns tracks of frames [T, size, size, 3], on the track grid."""
    if self._tracks == "auto" and not self._extracted:
      logging.warning(
        "%s has no tracks beside it: they are extracted from pixels, every "
        "time anew; `trajvit data tracks` makes them once",
        name,
      )
    self._extracted.add(name)
    try:
      extract = importlib.import_module("trajvit.data.extract")
      tracks = extract.extract_tracks(frames, max_tracks=self._clip.max_tracks)
    except ImportError as error:
      raise ValueError(
        f"tracks={self._tracks!r} extracts tracks from pixels, which needs "
        f"`pip install 'trajvit[tracks]'`: {error}"
      ) from error
    cells = transforms.nearest_indices(self._clip.size, self._clip.track_grid)
    return tracks[:, cells[:, None], cells]


def _array_info(frames, fps) -> VideoInfo:
  count, height, width = frames.shape[:3]
  return VideoInfo(count, fps, count / fps, width, height)


def clip_extent(
  stored: StoredClip, num_frames: int, fps: float
) -> tuple[int, int]:
  """Returns the first frame of a clip in its video, and how many it has.

  Frame i of a video is on screen from i / fps on; a clip has those that begin
  in [start, end), and at least the one that is on screen at its start.

  Raises:
    BrokenClip: the video ends before the clip begins.
  """
  first, last = np.ceil(stored.start * fps - 1e-6), num_frames
  if stored.end is not None:
    last = min(last, np.ceil(stored.end * fps - 1e-6))
  if first >= num_frames:
    raise BrokenClip(
      stored.name,
      f"the clip begins at {stored.start:g} s, and the video has "
      f"{num_frames / fps:g} s",
    )
  return int(first), max(int(last - first), 1)


@contextlib.contextmanager
def _broken(name):
  """Turns what is wrong with the sidecars of a clip into a broken clip."""
  try:
    yield
  except (ValueError, OSError) as error:
    raise BrokenClip(name, " ".join(str(error).split())) from error
