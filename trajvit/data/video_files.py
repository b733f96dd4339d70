"""The Source of one's own videos: a manifest of plain files, no conversion."""

import contextlib
import dataclasses
import hashlib
import importlib
import json
import os

import numpy as np
from absl import logging

from trajvit.data import decode, transforms
from trajvit.data.example import BrokenClip, ClipSpec, Example
from trajvit.data.manifest import Record, read_manifest
from trajvit.data.sampling import SAMPLERS, middle
from trajvit.data.tracks import (
  label_map,
  limit_tracks,
  load_sidecars,
  sidecar_paths,
)

_TRACKS = ("none", "sidecar", "extract", "auto")


class VideoFiles:
  """Clips of the video and image files that a manifest lists.

  A video gives T frames chosen by `clip.sampler`, or by "middle" in the
  evaluation view; one of fewer frames repeats them, and so does an image.
  Frames are decoded to at most twice `clip.size` along their shorter side;
  `clip.augment` then sees frames and tracks together.

  Tracks come from a pair of sidecar files (see `trajvit.data.tracks`), the one
  the manifest names or the one beside the video, or are extracted from the
  pixels of the finished clip, which costs far more than decoding. A pair is
  for all frames of its video, or for T of them: it then holds the "middle"
  ones, as TrajViT makes it, and those are the frames taken, whatever the
  sampler.

  Attributes:
    extracted: for how many clips so far tracks were extracted from pixels.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    manifest: str,
    root: str = "",
    tracks: str = "auto",
  ):
    """Reads the manifest; files are opened when their clip is asked for.

    Args:
      clip: how every clip looks.
      manifest: a file or folder, see `trajvit.data.manifest`.
      root: the folder that relative paths start from; "" is the manifest's.
      tracks: "none"; "sidecar", without which a clip is broken; "extract",
        from pixels; or "auto", a sidecar pair where there is one, else
        extracted.

    Raises:
      ValueError: an unknown name, or a malformed manifest.
    """
    if tracks not in _TRACKS:
      raise ValueError(
        f"tracks must be one of {', '.join(_TRACKS)}, got {tracks!r}"
      )
    self._clip = clip
    self._manifest = str(manifest)
    self._root = root
    self._tracks = tracks
    self._sampler = SAMPLERS[clip.sampler]
    self._augment = transforms.AUGMENTATIONS[clip.augment]
    self._records = read_manifest(manifest, root)
    paths = sorted({record.path for record in self._records})
    self._clip_ids = {path: i for i, path in enumerate(paths)}
    self._extracted = set()
    captioned = sum(bool(record.captions) for record in self._records)
    logging.info(
      "%s: %d clips of %d files, %d with captions",
      *(manifest, len(self._records), len(paths), captioned),
    )

  def __len__(self) -> int:
    """The number of records in the manifest."""
    return len(self._records)

  def __repr__(self) -> str:
    return f"VideoFiles({self._manifest!r}, {self.fingerprint()})"

  @property
  def has_captions(self) -> bool:
    """Whether any clip has a caption."""
    return any(record.captions for record in self._records)

  @property
  def extracted(self) -> int:
    """For how many clips tracks were extracted from pixels."""
    return len(self._extracted)

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`; see `trajvit.data.example.Source`.

    Raises:
      BrokenClip: the video or its sidecar pair cannot be read.
      ValueError: tracks must be extracted and the packages for it are missing.
    """
    record = self._records[index]
    if record.is_image:
      frames, times, tracks = self._read_image(record)
    else:
      frames, times, tracks = self._read_video(record, rng)
    frames, tracks = transforms.apply_view(
      self._augment(*frames.shape[1:3], rng),
      frames,
      tracks,
      size=self._clip.size,
      track_grid=self._clip.track_grid,
    )
    if tracks is None and self._tracks != "none":
      tracks = self._extract(index, frames)
    dropped = 0
    if tracks is not None:
      tracks, dropped = limit_tracks(tracks, self._clip.max_tracks)
    if record.is_image:
      frames, times, tracks = (
        None if x is None else np.repeat(x, self._clip.frames, axis=0)
        for x in (frames, times, tracks)
      )

    captions = record.captions
    if rng is not None and captions:
      captions = (captions[rng.integers(len(captions))],)
    return Example(
      frames=frames,
      times=times,
      tracks=tracks,
      captions=captions,
      clip_id=self._clip_ids[record.path],
      label=record.label,
      name=record.path,
      dropped_tracks=dropped,
    )

  def fingerprint(self) -> str:
    """A short hash of the records, the clip's spec and the sizes of files.

    Where the files lie does not matter, as long as it is the same below the
    root; that a file is missing does, and so do sidecar pairs made since.
    """
    root = self._manifest
    if not os.path.isdir(root):
      root = self._root or os.path.dirname(root) or "."
    digest = hashlib.sha256()
    digest.update(json.dumps(dataclasses.asdict(self._clip)).encode())
    digest.update(self._tracks.encode())
    for record in self._records:
      row = dataclasses.asdict(record)
      row["path"] = os.path.relpath(record.path, root)
      del row["mask"], row["graph"]
      files = [record.path]
      if self._tracks in ("sidecar", "auto"):
        files += [name for name in _sidecar_names(record) if name]
      row["sizes"] = [_size(file) for file in files]
      digest.update(json.dumps(row, sort_keys=True).encode())
    return digest.hexdigest()[:16]

  def _read_image(self, record):
    """Returns frames [1, H, W, 3], times [1] and tracks [1, H', W'] or None."""
    frames, tracks = decode.read_image(record.path)[None], None
    pair = self._sidecar_pair(record)
    if pair:
      with _broken(record.path):
        tracks = label_map(*load_sidecars(*pair), name=pair[0])
    return frames, np.zeros(1, np.float32), tracks

  def _read_video(self, record, rng):
    """Returns frames [T, H, W, 3], times [T] and tracks [T, H', W'] or None."""
    pair, tracks = self._sidecar_pair(record), None

    def choose(info):
      nonlocal tracks
      if pair:
        with _broken(record.path):
          indices, tracks = self._read_tracks(pair, info.num_frames, rng)
      else:
        indices = self._sample(info.num_frames, rng)
      size = transforms.decoded_size(info.height, info.width, self._clip.size)
      return indices, size

    frames, times = decode.decode_clip(record.path, choose)
    return frames, times, tracks

  def _read_tracks(self, pair, num_frames, rng):
    """Returns which frames to decode, [T], and their tracks [T, H', W']."""
    mask, graph = load_sidecars(*pair)
    if len(mask) == num_frames:
      indices = self._sample(num_frames, rng)
      mask, graph = mask[indices], graph[:, indices]
    elif len(mask) == self._clip.frames:
      indices = middle(num_frames, self._clip.frames)
    else:
      raise ValueError(
        f"{pair[0]}: {len(mask)} frames of tracks for a clip of "
        f"{self._clip.frames} from a video of {num_frames}"
      )
    return indices, label_map(mask, graph, name=pair[1])

  def _sample(self, num_frames, rng) -> np.ndarray:
    sampler = middle if rng is None else self._sampler
    return sampler(num_frames, self._clip.frames, rng)

  def _sidecar_pair(self, record) -> tuple[str, str | None] | None:
    """The sidecar files to read, or None where tracks come from pixels."""
    if self._tracks in ("none", "extract"):
      return None
    pair = _sidecar_names(record)
    missing = [name for name in pair if name and not os.path.isfile(name)]
    if not missing:
      return pair
    if self._tracks == "sidecar" or record.mask or record.graph:
      raise BrokenClip(record.path, f"no sidecar {' and '.join(missing)}")
    return None

  def _extract(self, index, frames) -> np.ndarray:
    """Returns tracks of finished frames, on the track grid."""
    if self._tracks == "auto" and not self._extracted:
      logging.warning(
        "%s has no tracks beside it: they are extracted from pixels, every "
        "time anew; `trajvit data tracks %s` makes them once",
        *(self._records[index].path, self._manifest),
      )
    self._extracted.add(index)
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


@contextlib.contextmanager
def _broken(path):
  """Turns what is wrong with the sidecars of `path` into a broken clip."""
  try:
    yield
  except (ValueError, OSError) as error:
    raise BrokenClip(path, " ".join(str(error).split())) from error


def _sidecar_names(record: Record) -> tuple[str, str | None]:
  """The mask and graph of a record; an image needs no graph."""
  mask, graph = sidecar_paths(record.path)
  if record.is_image:
    return record.mask or mask, record.graph
  return record.mask or mask, record.graph or graph


def _size(path: str) -> int:
  """The size of a file in bytes, -1 if it is missing."""
  try:
    return os.stat(path).st_size
  except OSError:
    return -1
