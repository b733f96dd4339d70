"""One clip as one record: what comes back, and what is refused."""

import dataclasses
import pickle
import zlib

import msgpack
import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from trajvit.data.formats.payload import PackedClip, decode, encode

WHERE = "clips.array_record, record 3"
CLIP = PackedClip(
  name="a/b.mp4",
  media=b"some bytes",
  suffix=".mp4",
  is_image=False,
  clip_id=7,
  captions=("one", "zwei ü"),
  label=2,
  labels=(2, 5),
  start=0.5,
  end=2.0,
  mask=b"m",
  graph=b"g",
)
TOY = PackedClip(
  name="toy",
  media=np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3),
  suffix="",
  is_image=False,
  clip_id=0,
  fps=8.0,
)


def _content(clip=CLIP, **changes):
  """The inner map of a record, with some values replaced."""
  content = msgpack.unpackb(msgpack.unpackb(encode(clip))["content"])
  return {**content, **changes}


def _record(inner, **changes):
  """The record of an inner map, whose checksum is right."""
  data = inner if isinstance(inner, bytes) else msgpack.packb(inner)
  outer = {"version": 1, "crc32": zlib.crc32(data), "content": data}
  return msgpack.packb({**outer, **changes})


def test_what_is_written_comes_back():
  assert decode(encode(CLIP), WHERE) == CLIP
  image = PackedClip("i", b"x", ".png", True, 1, mask=b"m")
  assert decode(encode(image), WHERE) == image
  toy = decode(encode(TOY), WHERE)
  np.testing.assert_array_equal(toy.media, TOY.media)
  rest = dataclasses.replace(toy, media=b"")
  assert rest == dataclasses.replace(TOY, media=b"")
  assert encode(CLIP) == encode(dataclasses.replace(CLIP))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"name": b"a"}, "name must be a text"),
    ({"suffix": ".exe"}, "suffix must be one of .3gp, .avi"),
    ({"suffix": ".png"}, "got '.png'"),
    ({"is_image": 1}, "is_image must be true or false"),
    ({"media": "text"}, "media must be bytes"),
    ({"fps": 3.0}, "fps of a file must be 0"),
    ({"shape": [1, 1, 1, 3]}, "frames have no suffix"),
    ({"clip_id": -1}, "clip_id must be from 0 up"),
    ({"label": True}, "label must be from -1 up"),
    ({"label": 2**63}, "label must be from -1 up"),
    ({"captions": "one"}, "captions must be texts"),
    ({"captions": ["one", 2]}, "captions must be texts"),
    ({"labels": [-1]}, "labels must be numbers"),
    ({"start": float("nan")}, "start must be seconds"),
    ({"start": 3.0}, "end must be None or seconds after start, got 2.0"),
    ({"mask": "m"}, "mask must be bytes"),
    ({"mask": None}, "a graph needs a mask"),
    ({"graph": None}, "the mask of a video a graph"),
    ({"more": 1}, "expected the keys name, suffix"),
  ],
)
def test_a_value_that_cannot_be_is_refused(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    decode(_record(_content(**changes)), WHERE)
  assert str(error.value).startswith(WHERE)


@pytest.mark.parametrize(
  "changes",
  [
    {"shape": [2, 3, 4, 1]},
    {"shape": [2, 3, 4]},
    {"shape": [2**40, 2**40, 2**40, 3]},
    {"shape": [-2, -3, 4, 3]},
    {"shape": [2, 3, 4.0, 3]},
    {"fps": 0},
    {"fps": float("inf")},
    {"is_image": True},
  ],
)
def test_frames_that_cannot_be_are_refused(changes):
  with pytest.raises(ValueError, match=WHERE):
    decode(_record(_content(TOY, **changes)), WHERE)


@pytest.mark.parametrize(
  ("record", "message"),
  [
    (_record(_content(), version=2), "version 1 of the records, got 2"),
    (_record(_content(), version=True), "version 1 of the records, got True"),
    (_record(_content(), crc32=0), "expected the checksum"),
    (_record(_content(), content="text"), "bytes as content, got str"),
    (b"", "expected msgpack"),
    (b"\xc1", "expected msgpack"),
    (encode(CLIP) + b"\0", "expected msgpack"),
    (encode(CLIP)[:-1], "expected msgpack"),
    (pickle.dumps({"version": 1}), "expected msgpack"),
    (msgpack.packb([1]), "expected the keys version, crc32, content, got list"),
    (_record(b"\x81" * 600 + b"\xc0"), "expected msgpack"),
    (msgpack.packb({"version": msgpack.ExtType(5, b"x")}), "expected msgpack"),
    (_record(_content(name=msgpack.Timestamp(1))), "expected msgpack"),
    (msgpack.packb({"version": 1, 2: 3}), "expected msgpack"),
    (b"\xdd\xff\xff\xff\xff", "expected msgpack"),  # a list of 2^32 items
    (b"\xc6\xff\xff\xff\xff", "expected msgpack"),  # 4 GiB of bytes
  ],
)
def test_bytes_that_are_no_record_are_refused(record, message):
  with pytest.raises(ValueError, match=message) as error:
    decode(record, WHERE)
  assert str(error.value).startswith(WHERE)


def test_a_clip_that_cannot_be_read_is_not_written():
  for changes in ({"suffix": ".exe"}, {"label": -2}, {"end": 0.0}):
    with pytest.raises(ValueError, match=CLIP.name):
      encode(dataclasses.replace(CLIP, **changes))
  with pytest.raises(ValueError, match="frames must be uint8, got float32"):
    encode(dataclasses.replace(TOY, media=TOY.media.astype(np.float32)))


@fuzz(60)
@given(st.integers(0), st.integers(0, 7))
def test_no_bit_can_be_flipped(place, bit):
  data = bytearray(encode(CLIP))
  data[place % len(data)] ^= 1 << bit
  with pytest.raises(ValueError, match=WHERE):
    decode(bytes(data), WHERE)


_VALUES = st.recursive(
  st.none()
  | st.booleans()
  | st.integers(-(2**63), 2**64 - 1)
  | st.floats()
  | st.text(max_size=8)
  | st.binary(max_size=8),
  lambda inner: st.lists(inner, max_size=3),
  max_leaves=4,
)


@fuzz(60)
@given(st.dictionaries(st.sampled_from(sorted(_content())), _VALUES))
def test_any_values_are_a_clip_or_refused(changes):
  try:
    clip = decode(_record(_content(**changes)), WHERE)
  except ValueError as error:
    assert str(error).startswith(WHERE)
  else:
    # Nothing was bent into shape, and what was taken can be written again.
    assert decode(encode(clip), WHERE) == clip


@fuzz(60)
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(data):
  with pytest.raises(ValueError, match=WHERE):
    decode(data, WHERE)
