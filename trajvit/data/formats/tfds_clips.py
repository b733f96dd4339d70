"""A data set that TFDS has built as ArrayRecord, as a source of clips."""

import bisect
import itertools
import os
import pathlib

import numpy as np
from array_record.python import array_record_data_source

from trajvit.data.clips import StoredClip
from trajvit.data.decode import read_image
from trajvit.data.example import BrokenClip, ClipSpec
from trajvit.data.formats.array_record import Instruction
from trajvit.data.formats.tfds_folder import (
  Feature,
  read_features,
  read_split,
)
from trajvit.data.media import Blob
from trajvit.data.stored import StoredClips
from trajvit.data.video_reader import one_line

_VIDEO = ("bytes", "frames", "images")
_MEDIA = (*_VIDEO, "image")


class TfdsClips(StoredClips):
  """Clips of a split of a TFDS data set, whoever wrote it.

  What an example is, `features.json` tells. A clip is one of: a file, in a
  Tensor that is a string or in a Text; frames, in a Tensor [n, H, W, 3] of
  uint8; a Video or a Sequence of Images, whose frames are all decoded; or an
  Image. It needs neither TensorFlow nor the code that built the data set.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    root: str,
    split: str,
    video: str | None = None,
    image: str | None = None,
    caption: str | None = None,
    label: str | None = None,
    fps: float | None = None,
    tracks: str = "auto",
  ):
    """Reads what the data set is.

    Args:
      clip: how every clip looks.
      root: the folder of `dataset_info.json` and the shards, which ends in the
        version.
      split: its name, such as "train".
      video: the feature that is the clip, "a/b" for b of a. Where none of the
        four is given, the only one of its kind is taken, if there is one.
      image: likewise, of still images.
      caption: a Text or a Sequence of them; "" for none.
      label: a ClassLabel; "" for none.
      fps: of clips that are frames, which need it.
      tracks: see ClipReader; there are no sidecars.

    Raises:
      ValueError: an unknown name, files that are missing or not what they
        should be, or features among which to choose.
    """
    super().__init__(
      clip=clip, tracks=tracks, name=f"{os.path.join(str(root), '')}{split}"
    )
    folder = pathlib.Path(root)
    self._split = read_split(folder, split)
    self._features = features = read_features(folder)
    self._media, self._is_image = _choose_media(folder, features, video, image)
    self._caption = _choose(folder, features, "caption", caption, ("text",))
    self._label = _choose(folder, features, "label", label, ("label",))
    kind = features[self._media].kind
    if kind in ("frames", "images"):
      if fps is None or not 0 < fps < np.inf:
        raise ValueError(
          f"{folder}: {self._media!r} is frames, which need fps, got {fps}"
        )
    elif fps is not None:
      raise ValueError(f"{folder}: {self._media!r} is a file with its own fps")
    self._fps = 1.0 if fps is None else float(fps)
    self._paths = [str(folder / file) for file in self._split.files]
    for path in self._paths:
      if not os.path.isfile(path):
        raise ValueError(f"{path}: expected this shard, there is none")
    self._ends = list(itertools.accumulate(self._split.lengths))
    if not self._ends[-1]:
      raise ValueError(f"{folder}: expected at least one clip, found none")
    self._data = array_record_data_source.ArrayRecordDataSource(
      [
        Instruction(path, 0, length, length)
        for path, length in zip(self._paths, self._split.lengths, strict=True)
      ],
      reader_options={"max_parallelism": "0"},
    )

  def __len__(self) -> int:
    """The number of clips."""
    return self._ends[-1]

  @property
  def has_captions(self) -> bool:
    """Whether there is a feature of captions."""
    return self._caption is not None

  def content(self) -> list:
    """What the data set calls itself, and what is read of it."""
    split = self._split
    return [
      *(split.name, split.files, split.lengths, split.size),
      *(self._media, self._caption, self._label, self._fps),
    ]

  def stored(self, index: int) -> StoredClip:
    """Returns clip `index` as it is stored.

    Raises:
      BrokenClip: its record is damaged, or not what the features say.
    """
    shard = bisect.bisect_right(self._ends, index)
    first = self._ends[shard - 1] if shard else 0
    name = f"{self._paths[shard]}, record {index - first}"
    try:
      example = _parse(self._data[index])
      return StoredClip(
        name=name,
        media=self._read_media(name, example),
        is_image=self._is_image,
        clip_id=index,
        captions=self._read_captions(example),
        label=self._read_label(example),
        fps=self._fps,
      )
    except (ValueError, RuntimeError, OSError, IndexError) as error:
      raise BrokenClip(name, one_line(error)) from error

  def _read_media(self, name, example) -> Blob | np.ndarray:
    """Returns the file of a clip, or its frames [n, H, W, 3]."""
    feature = self._features[self._media]
    if feature.kind == "frames":
      return _frames(feature, _values(example, self._media, "int64_list"))
    files = _values(example, self._media, "bytes_list")
    if not files:
      raise ValueError(f"no {self._media!r} in it")
    if feature.kind != "images":
      return Blob(name, files[0])
    frames = [read_image(Blob(name, file)) for file in files]
    sizes = {frame.shape for frame in frames}
    if len(sizes) > 1:
      raise ValueError(f"frames of the sizes {sorted(sizes)}")
    return np.stack(frames)

  def _read_captions(self, example) -> tuple[str, ...]:
    if self._caption is None:
      return ()
    texts = _values(example, self._caption, "bytes_list")
    captions = (text.decode() for text in texts)
    return tuple(caption for caption in captions if caption.strip())

  def _read_label(self, example) -> int:
    if self._label is None:
      return -1
    labels = _values(example, self._label, "int64_list")
    if len(labels) != 1 or not -1 <= labels[0] < 2**31:
      raise ValueError(f"expected one label from -1 up, got {labels!r:.60}")
    return labels[0]


def _parse(record: bytes):
  """Returns the features of a tf.Example by name."""
  # A part of a library that takes a second to import.
  from google.protobuf import message  # noqa: PLC0415
  from tensorflow_datasets.proto import tf_example_pb2  # noqa: PLC0415

  try:
    return tf_example_pb2.Example.FromString(record).features.feature
  except message.DecodeError as error:
    raise ValueError(f"expected a tf.Example: {error}") from error


def _values(example, name, kind) -> list:
  """Returns the values of a feature, none if it is not there."""
  if name not in example:
    return []
  feature = example[name]
  found = feature.WhichOneof("kind")
  if found not in (kind, None):
    raise ValueError(f"expected {name!r} to be {kind}, got {found}")
  return list(getattr(feature, kind).value)


def _frames(feature: Feature, values) -> np.ndarray:
  """Returns frames [n, H, W, 3] uint8 out of a flat list."""
  array = np.array(values, np.int64)
  count = feature.shape[0]
  size = int(np.prod(feature.shape[1:]))
  if count < 0 and size:
    count = len(array) // size
  if count < 1 or len(array) != count * size:
    raise ValueError(f"{len(array)} values are not frames {feature.shape}")
  if array.min() < 0 or array.max() > 255:
    raise ValueError("frames must be from 0 to 255")
  return array.astype(np.uint8).reshape(count, *feature.shape[1:])


def _choose_media(folder, features, video, image) -> tuple[str, bool]:
  """Returns the feature that is the clip, and whether it is an image."""
  if video is not None and image is not None:
    raise ValueError(f"{folder}: expected video or image, got both")
  if video is not None:
    kinds = (*_VIDEO, "text")
    return _choose(folder, features, "video", video, kinds), False
  if image is not None:
    kinds = ("image", "bytes", "text")
    return _choose(folder, features, "image", image, kinds), True
  name = _choose(folder, features, "video or image", None, _MEDIA)
  if name is None:
    raise ValueError(
      f"{folder}: expected a feature that is a video or an image, there are "
      f"{_listed(features)}"
    )
  return name, features[name].kind == "image"


def _choose(folder, features, role, name, kinds) -> str | None:
  """Returns the feature of a role, None if there is or should be none.

  Raises:
    ValueError: there is no such feature, or there are several to choose from.
  """
  if name == "" and role in ("caption", "label"):
    return None
  fit = [key for key, x in features.items() if x.kind in kinds]
  if name is None and len(fit) < 2:
    return fit[0] if fit else None
  if name not in fit:
    got = "several" if name is None else repr(name)
    raise ValueError(
      f"{folder}: expected {role} to be one of the features "
      f"{', '.join(fit) or '(none fits)'}, got {got}; there are "
      f"{_listed(features)}"
    )
  return name


def _listed(features) -> str:
  return ", ".join(f"{name} ({x.kind})" for name, x in features.items())
