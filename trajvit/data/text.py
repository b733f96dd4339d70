"""Captions to word ids: three tokenizers with one interface.

Every caption becomes [CLS] and its words, cut and padded with id 0 to a fixed
length. The empty caption is an empty slot: zeros, and no [CLS] either.
"""

import hashlib
import json
import pathlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from trajvit.data.synthetic.caption import caption_words
from trajvit.table import Table

PAD, UNK, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"

_DELETED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/]")
_WORD = re.compile(r",|[^\s,]+")


def clean_caption(text: str) -> str:
  """Returns a caption in lower case, without punctuation, spaces collapsed.

  The cleaning that TrajViT (arXiv:2505.23617) inherits from earlier
  video-text code: `, . ' ! ? " ( ) * # : ; ~` vanish, `-` and `/` become
  spaces, `<person>` becomes `person`.
  """
  text = _SPACED.sub(" ", _DELETED.sub("", text.lower()))
  return " ".join(text.replace("<person>", "person").split())


class TextTokenizer:
  """What the text tokenizers share: framing, padding and the fingerprint.

  A subclass says what a caption's ids are without [CLS].

  Attributes:
    length: L, ids a caption, [CLS] included.
    vocab_size: ids are in [0, vocab_size).
  """

  vocab_size: int

  def __init__(self, *, length: int, cls_id: int, sep_id: int | None = None):
    """`sep_id` None: no [SEP] at the end."""
    shortest = 2 if sep_id is None else 3
    if length < shortest:
      raise ValueError(
        f"length must hold the special ids and a word, at least {shortest}, "
        f"got {length}"
      )
    self.length = length
    self._cls_id, self._sep_id = cls_id, sep_id

  def words(self, caption: str) -> list[int]:
    """The ids of a caption, special ids left out."""
    raise NotImplementedError

  def content(self) -> list:
    """What decides the ids, JSON values: the fingerprint is its hash."""
    raise NotImplementedError

  def encode(self, caption: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ids [L] int32 of a caption and their mask [L] bool.

    A caption that is too long loses its end, never [CLS] or [SEP]. A caption
    without a word gives zeros and a mask that is False everywhere.

    Raises:
      ValueError: the caption is not a string.
    """
    if not isinstance(caption, str):
      raise ValueError(f"a caption must be a string, got {caption!r}")
    ids = np.zeros(self.length, np.int32)
    mask = np.zeros(self.length, bool)
    words = self.words(caption)
    if words:
      end = [] if self._sep_id is None else [self._sep_id]
      words = [self._cls_id, *words[: self.length - 1 - len(end)], *end]
      ids[: len(words)] = words
      mask[: len(words)] = True
    return ids, mask

  def fingerprint(self) -> str:
    """A short hash; equal for tokenizers that encode alike."""
    content = [type(self).__name__, self.length, self._sep_id, *self.content()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


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
    super().__init__(length=length, cls_id=2)
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


class ByteTokenizer(TextTokenizer):
  """The bytes of the caption in UTF-8: any language, no vocabulary.

  Ids are [PAD] 0, [CLS] 1, and byte b is 2 + b.
  """

  def __init__(self, *, length: int, clean: bool = False):
    """`clean` applies `clean_caption` first."""
    super().__init__(length=length, cls_id=1)
    self._clean = clean
    self.vocab_size = 2 + 256

  def words(self, caption):
    """One id a byte; none for a caption of white space only."""
    caption = clean_caption(caption) if self._clean else caption.strip()
    return [2 + byte for byte in caption.encode("utf-8")]

  def content(self):
    """Whether captions are cleaned."""
    return [self._clean]


class WordPieceTokenizer(TextTokenizer):
  """Word pieces of a BERT vocabulary, as `bert-base-uncased` splits them.

  Source: BERT, arXiv:1810.04805, and its published `vocab.txt`. Words are
  lower-cased, stripped of accents and split at punctuation and around CJK
  characters; each is then matched greedily, the longest piece first, pieces
  inside a word beginning with "##".
  """

  def __init__(
    self,
    *,
    length: int,
    vocabulary_file: str,
    add_sep: bool = True,
    clean: bool = False,
  ):
    """Reads the vocabulary.

    Args:
      length: L.
      vocabulary_file: a piece a line, in UTF-8; the line number, from 0, is its
        id. [PAD] is the first line, [UNK], [CLS] and [SEP] are anywhere.
      add_sep: ends a caption with [SEP], as BERT does; TrajViT's released
        weights were trained without.
      clean: applies `clean_caption` first.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a special piece is missing, [PAD] is not id 0, or a piece is
        there twice.
    """
    path = pathlib.Path(vocabulary_file)
    # Not splitlines: it would also split at the odd separators of Unicode.
    pieces = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    self._ids = {piece: i for i, piece in enumerate(pieces)}
    missing = [p for p in (PAD, UNK, CLS, SEP) if p not in self._ids]
    if missing:
      raise ValueError(f"{path}: the vocabulary has no {', '.join(missing)}")
    if len(self._ids) < len(pieces):
      raise ValueError(f"{path}: a piece is in the vocabulary twice")
    if pieces[0] != PAD:
      raise ValueError(
        f"{path}: the first piece must be {PAD}, got {pieces[0]!r}"
      )
    super().__init__(
      length=length,
      cls_id=self._ids[CLS],
      sep_id=self._ids[SEP] if add_sep else None,
    )
    self._pieces, self._clean = pieces, clean
    self.vocab_size = len(pieces)

  def words(self, caption):
    """The ids of the pieces of all words."""
    caption = clean_caption(caption) if self._clean else caption
    return [i for word in bert_words(caption) for i in self._match(word)]

  def content(self):
    """The vocabulary and whether captions are cleaned."""
    return [self._pieces, self._clean]

  def _match(self, word: str) -> list[int]:
    """The ids of one word's pieces, or [UNK] alone if any part has none."""
    unknown = [self._ids[UNK]]
    if len(word) > 100:  # BERT's limit
      return unknown
    ids, start = [], 0
    while start < len(word):
      prefix = "##" if start else ""
      for end in range(len(word), start, -1):
        piece = self._ids.get(prefix + word[start:end])
        if piece is not None:
          break
      else:
        return unknown
      ids.append(piece)
      start = end
    return ids


def bert_words(text: str) -> list[str]:
  """Splits text into words as uncased BERT does, before its word pieces."""
  spaced = []
  for char in unicodedata.normalize("NFD", text.lower()):
    category = unicodedata.category(char)
    if category == "Mn" or char == "\ufffd":  # an accent, a decoding error
      continue
    if char in " \t\n\r" or category == "Zs":
      spaced.append(" ")
    elif category in ("Cc", "Cf"):  # control characters
      continue
    elif _is_punctuation(char, category) or _is_cjk(ord(char)):
      spaced.append(f" {char} ")
    else:
      spaced.append(char)
  return "".join(spaced).split()


def _is_punctuation(char: str, category: str) -> bool:
  """Unicode punctuation and all other ASCII that is no letter or digit."""
  return category.startswith("P") or ("!" <= char <= "~" and not char.isalnum())


def _is_cjk(code: int) -> bool:
  """Chinese characters, each a word for BERT; not kana and not hangul."""
  return (
    0x4E00 <= code <= 0x9FFF
    or 0x3400 <= code <= 0x4DBF
    or 0x20000 <= code <= 0x2A6DF
    or 0x2A700 <= code <= 0x2CEAF
    or 0xF900 <= code <= 0xFAFF
    or 0x2F800 <= code <= 0x2FA1F
  )


TEXT_TOKENIZERS = Table(
  "text tokenizer",
  {
    "words": WordTokenizer,
    "bytes": ByteTokenizer,
    "wordpiece": WordPieceTokenizer,
  },
)
