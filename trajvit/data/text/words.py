"""Whole words of a small vocabulary that the config lists."""

import re
from collections.abc import Sequence

from trajvit.data.synthetic.caption import caption_words
from trajvit.data.text.base import TextTokenizer

_WORD = re.compile(r",|[^\s,]+")


class WordTokenizer(TextTokenizer):
  """Whole words of a small, closed vocabulary.

  A word is a comma or whatever stands between white space and commas, in
  lower case.
  """

  def __init__(self, *, length: int, vocabulary: Sequence[str] | str):
    """Numbers the words, after [PAD] 0, [UNK] 1 and [CLS] 2.

    Args:
      length: L.
      vocabulary: the words, or "moving_sprites" for those of its captions.

    Raises:
      ValueError: an unknown name, a repeated word, or one that no caption can
        hold.
    """
    super().__init__(length=length, start_id=2)
    if vocabulary == "moving_sprites":
      vocabulary = caption_words()
    elif isinstance(vocabulary, str):
      raise ValueError(
        "vocabulary must be a list of words or 'moving_sprites', "
        f"got {vocabulary!r}"
      )
    self._vocabulary = list(vocabulary)
    for word in self._vocabulary:
      if not isinstance(word, str) or _WORD.findall(word.lower()) != [word]:
        raise ValueError(
          "a vocabulary word must be lower case, without white space, and a "
          f"comma only by itself, got {word!r}"
        )
    self._ids = {word: 3 + i for i, word in enumerate(self._vocabulary)}
    if len(self._ids) < len(self._vocabulary):
      raise ValueError("vocabulary words must differ, got a word twice")
    self.vocab_size = 3 + len(self._ids)

  def words(self, caption):
    """The ids of the words; 1 for those not in the vocabulary."""
    return [self._ids.get(word, 1) for word in _WORD.findall(caption.lower())]

  def content(self):
    """The vocabulary."""
    return [self._vocabulary]
