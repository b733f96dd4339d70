"""Moving sprites: short clips with captions and exact tracks, made on the spot.

Two sprites, told apart by colour, shape and pattern, each do one of twelve
things over a textured background, perhaps with a third as a distractor, before
a camera that may move. Telling clips apart takes what, where and when; nothing
is downloaded, and every clip is a pure function of (seed, split, index).
"""

import dataclasses
import hashlib
import os
import pathlib
import zlib

import numpy as np

from trajvit.data.augment import Augment, Footage
from trajvit.data.example import ClipSpec, Example
from trajvit.data.synthetic.cache import ClipCache, RenderedClip, build_cache
from trajvit.data.synthetic.caption import caption, caption_words
from trajvit.data.synthetic.classes import CLASSES, class_of
from trajvit.data.synthetic.labels import grid_tracks
from trajvit.data.synthetic.render import render
from trajvit.data.synthetic.splits import SplitScenes
from trajvit.data.tracks import limit_tracks

# Raise it with any change that changes a clip: caches depend on it.
GENERATOR_VERSION = 2
FRAMES_PER_SECOND = 8
TRACKS = ("exact", "extracted", "none")
# What leaves every caption true.
AUGMENTATIONS = ("blur", "frame_drop", "tube_mask")


class MovingSprites:
  """Captioned clips of moving sprites; a Source that needs no files.

  Attributes:
    clip: the ClipSpec.
    split: name of the split.
    tracks: where the tracks come from.
    label: what the class of a clip is.
    seed: of everything.
    scenes: the symbolic scene of every clip, see `synthetic.scene`.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    split: str = "train",
    count: int | None = None,
    tracks: str = "exact",
    camera: str | None = None,
    label: str = "motion",
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    processes: int | None = None,
  ):
    """Draws the scenes and, with `cache_dir`, renders them all.

    Args:
      clip: `size` of at least 32, `frames` of at least 2, `augment` "none" or
        specs of AUGMENTATIONS; `sampler` has no meaning here and is not read.
      split: one of `splits.SPLITS`: train, validation (drawn alike), static
        (still camera), moving (the scenes of static, moving camera) or hard
        (groups of 8 clips that differ in the motion of their sprites only).
      count: number of clips, None for the split's own.
      tracks: "exact", the regions as rendered; "extracted", found in the
        pixels by `data.extract`, as for a real video; "none".
      camera: "still" or "shake", for all clips; None is as the split draws it.
        The caption says what the camera does, and nothing else changes.
      label: what the class of a clip is, a key of `classes.CLASSES`: "motion",
        "color" or "shape" of a sprite, "colors" of both, or "camera".
      seed: two seeds share no clip.
      cache_dir: where to keep the rendered clips, in a folder named by the
        fingerprint; None or "" renders a clip whenever it is asked for. The
        examples are the same.
      processes: how many fill the cache, None for one a processor core.

    Raises:
      ValueError: for any of the above.
    """
    _check_clip(clip)
    if tracks not in TRACKS:
      raise ValueError(f"tracks must be one of {TRACKS}, got {tracks!r}")
    if tracks == "extracted":
      _import_extractor()
    if label not in CLASSES:
      raise ValueError(
        f"label must be one of {', '.join(CLASSES)}, got {label!r}"
      )
    if processes is not None and processes < 1:
      raise ValueError(f"processes must be at least 1, got {processes}")
    self.clip = clip
    self.split = split
    self.tracks = tracks
    self.label = label
    self.seed = seed
    self.scenes = SplitScenes(split, count, seed, camera)
    self._augment = None if clip.augment == "none" else Augment(clip)
    self._cache = None
    if cache_dir:
      folder = pathlib.Path(cache_dir) / self.fingerprint()
      processes = processes or os.cpu_count() or 1
      build_cache(folder, len(self), self.render, processes)
      self._cache = ClipCache(folder)

  def __repr__(self) -> str:
    clip = self.clip
    # Left out where they are not set: the fingerprint is of this.
    camera = self.scenes.camera
    camera = "" if camera is None else f", camera={camera!r}"
    label = "" if self.label == "motion" else f", label={self.label!r}"
    return (
      f"MovingSprites(split={self.split!r}, count={len(self)}, "
      f"tracks={self.tracks!r}, seed={self.seed}, frames={clip.frames}, "
      f"size={clip.size}, track_grid={clip.track_grid}, "
      f"max_tracks={clip.max_tracks}{camera}{label})"
    )

  def __len__(self) -> int:
    """The number of clips."""
    return len(self.scenes)

  @property
  def tracks_are_ground_truth(self) -> bool:
    """Whether the tracks know what no method that sees pixels could know."""
    return self.tracks == "exact"

  @property
  def classes(self) -> tuple[str, ...]:
    """The names of the classes, by label."""
    return CLASSES[self.label]

  def vocabulary(self) -> list[str]:
    """Returns every word of every caption, sorted; "," is a word."""
    return caption_words()

  def fingerprint(self) -> str:
    """Returns a hash of all that the clips depend on, 16 hexadecimal digits."""
    content = f"{self!r} version {GENERATOR_VERSION}"
    return hashlib.sha256(content.encode()).hexdigest()[:16]

  def example(self, index: int, rng: np.random.Generator | None) -> Example:
    """Returns clip `index`.

    Args:
      index: in [0, len), or IndexError is raised.
      rng: draws the order of the caption's phrases and its conjunction, then
        the augmentation; None gives the canonical caption and the clip as it
        was rendered. Nothing else is random.

    Returns:
      The example. `clip_id` hashes the canonical caption, so that clips that
      show the same match; `label` is a position in `CLASSES` of what was asked.
    """
    scene = self.scenes[index]
    clip = self.render(index) if self._cache is None else self._cache[index]
    canonical = caption(scene)
    times = np.arange(self.clip.frames, dtype=np.float32) / FRAMES_PER_SECOND
    captions = (canonical if rng is None else caption(scene, rng),)
    seen = Footage(clip.frames, times, clip.tracks, captions)
    if rng is not None and self._augment is not None:
      seen = self._augment(seen, rng)
      if seen.tracks is not None:  # those that are hidden leave no gaps
        tracks, _ = limit_tracks(seen.tracks, self.clip.max_tracks)
        seen = dataclasses.replace(seen, tracks=tracks)
    return Example(
      frames=seen.frames,
      times=seen.times,
      tracks=seen.tracks,
      captions=captions,
      clip_id=zlib.crc32(canonical.encode()) & 0x7FFFFFFF,
      label=class_of(scene, self.label),
      name=f"moving_sprites/{self.split}/{index}",
      dropped_tracks=clip.dropped_tracks,
    )

  def render(self, index: int) -> RenderedClip:
    """Returns the pixels and tracks of clip `index`, without the cache."""
    spec = self.clip
    frames, labels = render(self.scenes[index], spec.frames, spec.size)
    if self.tracks == "none":
      return RenderedClip(frames, None, 0)
    if self.tracks == "extracted":
      extract_tracks = _import_extractor()
      labels = extract_tracks(frames, max_tracks=spec.max_tracks)
    return RenderedClip(
      frames, *grid_tracks(labels, spec.track_grid, spec.max_tracks)
    )


def _check_clip(clip: ClipSpec) -> None:
  """Raises ValueError for a clip that cannot be made."""
  if clip.frames < 2:
    raise ValueError(f"moving sprites need 2 frames or more, got {clip.frames}")
  if clip.size < 32:
    raise ValueError(f"moving sprites need 32 pixels or more, got {clip.size}")
  if clip.max_tracks < 1:
    raise ValueError(f"max_tracks must be at least 1, got {clip.max_tracks}")
  names = {clip.augment}
  if not isinstance(clip.augment, str):
    names = {dict(spec).get("name") for spec in clip.augment}
  if clip.augment != "none" and not names <= set(AUGMENTATIONS):
    raise ValueError(
      f"augment must be 'none' or specs of {', '.join(AUGMENTATIONS)}, since a "
      f"flip, say, would belie the caption of moving sprites, got "
      f"{clip.augment!r}"
    )


def _import_extractor():
  """Returns `extract_tracks`, whose dependencies are an extra."""
  try:
    from trajvit.data.extract import extract_tracks  # noqa: PLC0415
  except ImportError as error:
    raise ValueError(
      f"tracks='extracted' needs the extra trajvit[tracks]: {error}"
    ) from error
  return extract_tracks
