"""One clip as the bytes of one record, and back.

A record is a msgpack map of three entries:

  version   1
  crc32     of the content, as zlib counts it
  content   a msgpack map in itself, of exactly the keys of `_KEYS`

Any msgpack library reads it. What this one reads it checks: the sum first, then
every key, type and range; it knows neither pickles nor msgpack's extensions.
"""

import dataclasses
import math
import zlib
from typing import Any

import msgpack
import numpy as np

from trajvit.data.manifest import IMAGE_SUFFIXES, VIDEO_SUFFIXES

VERSION = 1
MAX_BYTES = 2**31 - 1  # of a record
_MAX_TEXT = 2**20  # bytes of a caption or name
_MAX_ITEMS = 2**16  # captions or labels of a clip
_MAX_SECONDS = 1e9
_KEYS = (
  *("name", "suffix", "media", "shape", "fps", "is_image", "clip_id"),
  *("captions", "label", "labels", "start", "end", "mask", "graph"),
)


@dataclasses.dataclass(frozen=True)
class PackedClip:
  """One clip, ready to be stored.

  Attributes:
    name: where it came from, for messages only: no file is looked for there.
    media: the bytes of a file of `suffix`, or frames [n, H, W, 3] uint8 RGB.
    suffix: ".mp4" and the like, what the file would be called; "" for frames.
    is_image: whether it is a still image.
    clip_id: clips with equal ids match each other's captions.
    fps: of frames; a file has its own, and 0 here.
    captions: all of them.
    label: class, -1 = unknown.
    labels: all classes, of a clip that may have several.
    start: where in `media` the clip begins, in seconds.
    end: where it ends, or None for the end of `media`.
    mask: the bytes of the file of per-frame region ids, see `data.tracks`.
    graph: the bytes of the file that links them; an image needs none.
  """

  name: str
  media: bytes | np.ndarray
  suffix: str
  is_image: bool
  clip_id: int
  fps: float = 0.0
  captions: tuple[str, ...] = ()
  label: int = -1
  labels: tuple[int, ...] = ()
  start: float = 0.0
  end: float | None = None
  mask: bytes | None = None
  graph: bytes | None = None


def encode(clip: PackedClip) -> bytes:
  """Returns the record of a clip; equal clips give equal bytes.

  Raises:
    ValueError: the clip is none that `decode` would take.
  """
  values = {f.name: getattr(clip, f.name) for f in dataclasses.fields(clip)}
  values["shape"] = None
  if isinstance(clip.media, np.ndarray):
    if clip.media.dtype != np.uint8:
      raise ValueError(
        f"{clip.name}: frames must be uint8, got {clip.media.dtype}"
      )
    values["shape"] = list(clip.media.shape)
    values["media"] = np.ascontiguousarray(clip.media).tobytes()
  for key in ("captions", "labels"):
    values[key] = list(values[key])
  values = {key: values[key] for key in _KEYS}  # always in one order
  _check(clip.name, values)
  content = msgpack.packb(values)
  record = {
    "version": VERSION,
    "crc32": zlib.crc32(content),
    "content": content,
  }
  return msgpack.packb(record)


def decode(data: bytes, where: str) -> PackedClip:
  """Returns the clip of a record.

  Args:
    data: the record.
    where: the file and the number of the record, which messages begin with.

  Raises:
    ValueError: it is no such record, or was changed after it was written.
  """
  outer = _unpack(where, data, ("version", "crc32", "content"))
  if type(outer["version"]) is not int or outer["version"] != VERSION:
    raise ValueError(
      f"{where}: expected version {VERSION} of the records, "
      f"got {outer['version']!r:.60}"
    )
  content = outer["content"]
  if not isinstance(content, bytes):
    raise ValueError(
      f"{where}: expected bytes as content, got {type(content).__name__}"
    )
  if type(outer["crc32"]) is not int or outer["crc32"] != zlib.crc32(content):
    raise ValueError(
      f"{where}: expected the checksum {zlib.crc32(content)}, got "
      f"{outer['crc32']!r:.60}: the record is damaged"
    )
  values = _unpack(where, content, _KEYS)
  _check(where, values)
  shape = values.pop("shape")
  if shape is not None:
    values["media"] = np.frombuffer(values["media"], np.uint8).reshape(shape)
  for key in ("captions", "labels"):
    values[key] = tuple(values[key])
  return PackedClip(**values)


def _unpack(where, data, keys) -> dict[str, Any]:
  """Returns a map of exactly `keys` out of msgpack."""
  try:
    values = msgpack.unpackb(
      data,
      raw=False,
      strict_map_key=True,
      max_bin_len=MAX_BYTES,
      max_str_len=_MAX_TEXT,
      max_array_len=_MAX_ITEMS,
      max_map_len=_MAX_ITEMS,
      max_ext_len=0,
    )
  except (ValueError, msgpack.UnpackException) as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise ValueError(f"{where}: expected msgpack: {reason:.200}") from error
  if not isinstance(values, dict) or set(values) != set(keys):
    got = sorted(values) if isinstance(values, dict) else type(values).__name__
    raise ValueError(
      f"{where}: expected the keys {', '.join(keys)}, got {got!s:.200}"
    )
  return values


def _check(where: str, values: dict) -> None:
  """Raises ValueError for the first value of a content that cannot be."""

  def need(what, good):
    if not good:
      raise ValueError(f"{where}: {what}")

  media, shape, suffix = values["media"], values["shape"], values["suffix"]
  need("name must be a text", _is_text(values["name"]))
  need("suffix must be a text", isinstance(suffix, str))
  need("is_image must be true or false", type(values["is_image"]) is bool)
  need("media must be bytes", isinstance(media, bytes))
  if shape is None:
    kinds = IMAGE_SUFFIXES if values["is_image"] else VIDEO_SUFFIXES
    need(
      f"suffix must be one of {', '.join(sorted(kinds))}, got {suffix!r:.20}",
      suffix in kinds,
    )
    need(
      f"fps of a file must be 0, got {values['fps']!r:.20}", values["fps"] == 0
    )
  else:
    need("frames have no suffix", suffix == "")
    need(
      f"frames must be [n, H, W, 3], at least one, got {shape!r:.60}",
      _is_list(shape, lambda x: _is_whole(x, 1))
      and len(shape) == 4
      and shape[3] == 3,
    )
    need(
      f"{len(media)} bytes of media are not frames {shape}",
      math.prod(shape) == len(media),
    )
    need("an image has one frame", not values["is_image"] or shape[0] == 1)
    need("fps of frames must be above 0", _is_seconds(values["fps"]))
    need("fps of frames must be above 0", values["fps"] > 0)
  need("clip_id must be from 0 up", _is_whole(values["clip_id"], 0))
  need("label must be from -1 up", _is_whole(values["label"], -1))
  need("captions must be texts", _is_list(values["captions"], _is_text))
  need(
    "labels must be numbers from 0 up",
    _is_list(values["labels"], lambda x: _is_whole(x, 0)),
  )
  start, end = values["start"], values["end"]
  need("start must be seconds", _is_seconds(start))
  need(
    f"end must be None or seconds after start, got {end!r:.20}",
    end is None or (_is_seconds(end) and end > start),
  )
  for key in ("mask", "graph"):
    need(
      f"{key} must be bytes or None",
      values[key] is None or isinstance(values[key], bytes),
    )
  need(
    "a graph needs a mask, and the mask of a video a graph",
    (values["mask"] is None) == (values["graph"] is None)
    or (values["is_image"] and values["graph"] is None),
  )


def _is_text(value) -> bool:
  if not isinstance(value, str) or len(value) > _MAX_TEXT:
    return False
  try:
    return len(value.encode()) <= _MAX_TEXT
  except UnicodeEncodeError:  # half of a pair of surrogates
    return False


def _is_whole(value, least) -> bool:
  return type(value) is int and least <= value < 2**31


def _is_seconds(value) -> bool:
  return type(value) in (int, float) and 0 <= value < _MAX_SECONDS


def _is_list(value, good) -> bool:
  right = isinstance(value, list) and len(value) <= _MAX_ITEMS
  return right and all(map(good, value))
