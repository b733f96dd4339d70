"""What text tokenizers share: framing, padding and the count of what is cut."""

import hashlib
import json
import re

import numpy as np

_SURROGATE = re.compile("[\ud800-\udfff]")


class TextTokenizer:
  """From a caption to its ids, of a fixed length, and which of them are real.

  A subclass says what a caption's own ids are. Here they get a start id and an
  end id, where there are such, and are cut and padded. The empty caption is an
  empty slot: padding only, no start and no end.

  Attributes:
    length: L, ids a caption, start and end included.
    vocab_size: ids are in [0, vocab_size).
  """

  vocab_size: int

  def __init__(
    self,
    *,
    length: int,
    start_id: int | None = None,
    end_id: int | None = None,
    pad_id: int = 0,
  ):
    """`start_id` and `end_id` are left out where they are None."""
    self._start = [] if start_id is None else [start_id]
    self._end = [] if end_id is None else [end_id]
    shortest = len(self._start) + 1 + len(self._end)
    if length < shortest:
      raise ValueError(
        f"length must hold the special ids and a word, at least {shortest}, "
        f"got {length}"
      )
    self.length = length
    self._end_id, self._pad_id = end_id, pad_id

  def words(self, caption: str) -> list[int]:
    """The ids of a caption, special ids left out."""
    raise NotImplementedError

  def content(self) -> list:
    """What decides the ids, JSON values: the fingerprint is its hash."""
    raise NotImplementedError

  def encode(self, caption: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids [L] int32 of a caption and their mask [L] bool.

    A caption that is too long loses its end, never a special id, see
    `encode_counted`. A caption without a word gives padding and a mask that is
    False everywhere.

    Raises:
      ValueError: the caption is not a string.
    """
    ids, mask, _ = self.encode_counted(caption)
    return ids, mask

  def encode_counted(self, caption: str) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns what `encode` does, and how many of the ids did not fit.

    Half a character, a lone surrogate such as broken JSON holds, counts as
    U+FFFD.

    Raises:
      ValueError: the caption is not a string.
    """
    if not isinstance(caption, str):
      raise ValueError(f"a caption must be a string, got {caption!r}")
    caption = _SURROGATE.sub("\ufffd", caption)
    words = self.words(caption) if caption.strip() else []
    room = self.length - len(self._start) - len(self._end)
    ids = np.full(self.length, self._pad_id, np.int32)
    mask = np.zeros(self.length, bool)
    if words:
      kept = [*self._start, *words[:room], *self._end]
      ids[: len(kept)] = kept
      mask[: len(kept)] = True
    return ids, mask, max(len(words) - room, 0)

  def fingerprint(self) -> str:
    """A short hash; equal for tokenizers that encode alike."""
    content = [type(self).__name__, self.length, self._end_id, *self.content()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
