"""Bytes of UTF-8 as ids."""

from trajvit.data.text.base import TextTokenizer
from trajvit.data.text.clean import clean_caption


class ByteTokenizer(TextTokenizer):
  """The bytes of the caption in UTF-8: any language, no vocabulary.

  Ids are [PAD] 0, [CLS] 1, and byte b is 2 + b.
  """

  def __init__(self, *, length: int, clean: bool = False):
    """`clean` applies `clean_caption` first."""
    super().__init__(length=length, start_id=1)
    self._clean = clean
    self.vocab_size = 2 + 256

  def words(self, caption):
    """One id a byte; none for a caption of white space only."""
    caption = clean_caption(caption) if self._clean else caption.strip()
    return [2 + byte for byte in caption.encode("utf-8")]

  def content(self):
    """Whether captions are cleaned."""
    return [self._clean]
