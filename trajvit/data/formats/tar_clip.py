"""One clip as members of a tar, in the convention of webdataset, and back.

The members of a clip share a key, the path up to the first dot of the file's
name:

  000.mp4 (or .webm, ..., .jpg, ...)   the video or image, one a clip
  000.txt                              a caption
  000.json                             "caption" or "captions", "label",
                                       "labels", "clip_id", "start" and "end"
                                       in seconds
  000.cls                              a class, as digits
  000.mask.npz, 000.graph.npz          tracks, see `data.tracks`

Others are passed over. Convention: https://github.com/webdataset/webdataset.
"""

import json

from trajvit.data.clips import StoredClip
from trajvit.data.formats import tar_members
from trajvit.data.formats.payload import PackedClip
from trajvit.data.manifest import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from trajvit.data.media import Blob

MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
_MAX_TEXT = 2**24  # bytes of a .json, .txt or .cls
_MAX_SECONDS = 1e9
_MAX_LABEL = 2**31 - 1


def files_of(clip: PackedClip) -> list[tuple[str, bytes]]:
  """Returns the (suffix, bytes) of the members of a clip.

  Raises:
    ValueError: it is of frames, which the convention does not know.
  """
  if not isinstance(clip.media, bytes):
    raise ValueError(f"{clip.name}: a tar holds files, got frames")
  about = {
    "name": clip.name,
    "captions": list(clip.captions),
    "label": clip.label,
    "labels": list(clip.labels),
    "clip_id": clip.clip_id,
    "start": clip.start,
    "end": clip.end,
  }
  files = [(clip.suffix, clip.media)]
  files.append((".json", json.dumps(about, sort_keys=True).encode()))
  if clip.captions:  # for other readers
    files.append((".txt", clip.captions[0].encode(errors="replace")))
  if clip.label >= 0:
    files.append((".cls", str(clip.label).encode()))
  files += [
    (f".{key}.npz", data)
    for key in ("mask", "graph")
    for data in [getattr(clip, key)]
    if data is not None
  ]
  return files


def key_and_suffix(name: str) -> tuple[str, str]:
  """Returns the key of a member and its suffix, in small letters."""
  parent, slash, base = name.rpartition("/")
  key, dot, suffix = base.partition(".")
  return parent + slash + key, (dot + suffix).lower()


def read_clip(data: bytes, path: str, index: int) -> StoredClip:
  """Returns the clip whose members, with their headers, are `data`.

  Args:
    data: a piece of a tar.
    path: of the tar, for messages.
    index: its id, if it does not tell one.

  Raises:
    ValueError: it has no video and no image, or what is beside them is not what
      it should be.
  """

  def read(offset, count):
    return data[offset : offset + count]

  found = list(tar_members.members(read, len(data)))
  key = key_and_suffix(found[0].name)[0]
  name = f"{path}, {key}"
  files = {
    key_and_suffix(member.name)[1]: read(member.start, member.size)
    for member in found
  }
  media = [suffix for suffix in files if suffix in MEDIA_SUFFIXES]
  if not media:
    raise ValueError(
      f"no video or image of {key!r:.99}, only {', '.join(files)!r:.99}"
    )
  about = read_about(files.get(".json", b"{}"))
  captions = captions_of(about)
  text = _text(files.get(".txt", b""), ".txt").strip()
  if text and text not in captions:
    captions = (*captions, text)
  pair = None
  if ".mask.npz" in files:
    graph = files.get(".graph.npz")
    pair = (
      Blob(f"{name}.mask.npz", files[".mask.npz"]),
      graph and Blob(f"{name}.graph.npz", graph),
    )
  start, end = about.get("start") or 0.0, about.get("end")
  if not _is_seconds(start) or not (
    end is None or (_is_seconds(end) and end > start)
  ):
    raise ValueError(
      f".json: expected 0 <= start < end, got {start!r:.30} and {end!r:.30}"
    )
  return StoredClip(
    name=f"{name}{media[0]}",
    media=Blob(f"{name}{media[0]}", files[media[0]]),
    is_image=media[0] in IMAGE_SUFFIXES,
    clip_id=_whole(about.get("clip_id", index), 0, "clip_id"),
    captions=captions,
    label=_label(files, about),
    labels=_labels(about),
    start=float(start),
    end=None if end is None else float(end),
    sidecars=lambda: pair,
  )


def read_about(data: bytes) -> dict:
  """Returns what the .json of a clip says.

  Raises:
    ValueError: it is no JSON object.
  """
  try:
    about = json.loads(_text(data, ".json"))
  except (ValueError, RecursionError) as error:
    raise ValueError(f".json: expected JSON: {error!s:.200}") from error
  if not isinstance(about, dict):
    raise ValueError(f".json: expected an object, got {about!r:.60}")
  return about


def captions_of(about: dict) -> tuple[str, ...]:
  """Returns the captions of a .json without the blank ones.

  Raises:
    ValueError: they are no texts.
  """
  captions = about.get("captions", about.get("caption")) or []
  captions = [captions] if isinstance(captions, str) else captions
  if not isinstance(captions, list) or not all(
    isinstance(caption, str) for caption in captions
  ):
    raise ValueError(f".json: expected captions, got {captions!r:.60}")
  for caption in captions:
    try:
      caption.encode()
    except UnicodeEncodeError as error:  # "\\ud800" in JSON
      raise ValueError(
        f".json: expected Unicode, got {caption!a:.60}"
      ) from error
  return tuple(caption for caption in captions if caption.strip())


def _label(files, about) -> int:
  """Returns the class of a clip, -1 for none; a .cls goes first."""
  if ".cls" in files:
    digits = files[".cls"].strip()
    if not (digits.isdigit() and len(digits) < 11):
      raise ValueError(f".cls: expected a number, got {digits!r:.60}")
    return _whole(int(digits), 0, "the .cls")
  label = about.get("label", -1)
  return _whole(-1 if label is None else label, -1, "label")


def _labels(about) -> tuple[int, ...]:
  """Returns all classes of a clip that may have several."""
  labels = about.get("labels") or []
  if not isinstance(labels, list):
    raise ValueError(f".json: expected labels in a list, got {labels!r:.60}")
  return tuple(_whole(label, 0, "labels") for label in labels)


def _whole(value, least, what) -> int:
  if type(value) is not int or not least <= value <= _MAX_LABEL:
    raise ValueError(
      f".json: expected {what} to be a number from {least} up to "
      f"{_MAX_LABEL}, got {value!r:.60}"
    )
  return value


def _is_seconds(value) -> bool:
  return type(value) in (int, float) and 0 <= value < _MAX_SECONDS


def _text(data, what) -> str:
  if len(data) > _MAX_TEXT:
    raise ValueError(f"{what}: {len(data)} bytes of text, above {_MAX_TEXT}")
  try:
    return data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError(f"{what}: expected UTF-8 text: {error}") from error
