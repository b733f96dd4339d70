"""Masks as run lengths, the way COCO and YouTube-VIS store them.

A mask is read column by column, and its runs are counted, zeros and ones in
turn, zeros first. The counts are a list of numbers, or a string of characters
from "0" on that hold five bits each, low bits first, the sixth bit saying
that the number goes on and the fifth of its last character being the sign;
from the fourth count on, what is stored is the difference to the count before
the last, the one of the same colour.
"""

import numpy as np

_CONTINUES, _NEGATIVE, _BITS = 32, 16, 5


def decode_mask(run_lengths: dict) -> np.ndarray:
  """Returns the mask of `{"size": [H, W], "counts": list or str}`.

  Returns:
    [H, W] bool.

  Raises:
    ValueError: not such a dict, or the counts do not fill the mask.
  """
  if not isinstance(run_lengths, dict) or not {"size", "counts"} <= set(
    run_lengths
  ):
    raise ValueError(
      "a mask must be run lengths, {'size': [H, W], 'counts': ...}, got "
      f"{str(run_lengths)[:60]}"
    )
  height, width = run_lengths["size"]
  counts = run_lengths["counts"]
  if isinstance(counts, str):
    counts = decode_counts(counts)
  counts = np.asarray(counts, np.int64)
  if (counts < 0).any() or counts.sum() != height * width:
    raise ValueError(
      f"run lengths must add up to {height} * {width} pixels, got "
      f"{int(counts.sum())} from {int(counts.min(initial=0))} up"
    )
  colors = np.arange(len(counts)) % 2 == 1
  return np.repeat(colors, counts).reshape(width, height).T


def decode_counts(text: str) -> np.ndarray:
  """Returns the run lengths in a compressed string, [n] int64.

  Raises:
    ValueError: a character is out of range, or the last number goes on.
  """
  codes = np.array([ord(letter) for letter in text], np.int64) - ord("0")
  if (codes < 0).any() or (codes >= 2 * _CONTINUES).any():
    raise ValueError(f"compressed run lengths have characters 0 to o: {text!r}")
  if not len(codes):
    return codes
  ends = np.flatnonzero(codes < _CONTINUES)
  if not len(ends) or ends[-1] != len(codes) - 1:
    raise ValueError(f"compressed run lengths end in mid-number: {text!r}")
  starts = np.concatenate([[0], ends[:-1] + 1])
  lengths = ends - starts + 1
  place = np.arange(len(codes)) - np.repeat(starts, lengths)
  values = np.add.reduceat((codes % _CONTINUES) << (_BITS * place), starts)
  negative = (codes[ends] & _NEGATIVE) > 0
  values -= np.where(negative, 1 << (_BITS * lengths), 0)
  for first in (1, 2):  # runs of ones; runs of zeros, but for the very first
    values[first::2] = values[first::2].cumsum()
  return values
