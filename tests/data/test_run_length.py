"""Run lengths: written by hand, and there and back."""

import numpy as np
import pytest
from run_length_encoder import compress, encode

from trajvit.data.masklets.run_length import decode_counts, decode_mask


def test_by_hand():
  """Columns top to bottom, zeros first: 0 1 | 1 0 | 0 0."""
  mask = decode_mask({"size": [2, 3], "counts": [1, 2, 3]})
  np.testing.assert_array_equal(mask, [[0, 1, 0], [1, 0, 0]])
  mask = decode_mask({"size": [2, 1], "counts": [0, 2]})
  np.testing.assert_array_equal(mask, [[1], [1]])
  assert mask.dtype == bool


@pytest.mark.parametrize(
  ("text", "counts"),
  [
    ("6", [6]),
    ("`0", [16]),  # the sign bit of the first character is a plain bit
    ("o0", [31]),
    ("P1", [32]),
    ("132O", [1, 3, 2, 2]),  # 2 is 3 less 1, the run of its colour before
    ("1321", [1, 3, 2, 4]),
    ("13211", [1, 3, 2, 4, 3]),
    ("", []),
  ],
)
def test_characters_by_hand(text, counts):
  assert decode_counts(text).tolist() == counts
  assert compress(counts) == text


def test_round_trip():
  rng = np.random.default_rng(0)
  for _ in range(50):
    shape = rng.integers(1, 60, 2)
    mask = rng.random(shape) < rng.choice([0.02, 0.5, 0.98])
    mask[: shape[0] // 2] = mask[:1]  # runs long and short
    counts = encode(mask)
    for stored in (counts, compress(counts)):
      found = decode_mask({"size": shape.tolist(), "counts": stored})
      np.testing.assert_array_equal(found, mask)


def test_long_runs():
  counts = [0, 70_000, 1_000_000, 3, 5, 2**31]
  assert decode_counts(compress(counts)).tolist() == counts


@pytest.mark.parametrize(
  ("stored", "message"),
  [
    ({"size": [2, 2], "counts": [1, 2]}, r"add up to 2 \* 2 pixels, got 3"),
    ({"size": [2, 2], "counts": [-1, 5]}, "got 4 from -1 up"),
    ({"size": [2, 2], "counts": "1P"}, "end in mid-number"),
    ({"size": [2, 2], "counts": "1 "}, "characters 0 to o"),
    ({"size": [2, 2], "counts": "1z"}, "characters 0 to o"),
    ({"size": [2, 2]}, "must be run lengths"),
    ([[0, 0, 1, 0, 1, 1]], "must be run lengths"),  # a polygon
  ],
)
def test_refuses(stored, message):
  with pytest.raises(ValueError, match=message):
    decode_mask(stored)
