"""Word pieces of BERT's vocabulary."""

import functools
import unicodedata

from trajvit.data.text.base import TextTokenizer
from trajvit.data.text.clean import clean_caption
from trajvit.data.text.files import read_lines
from trajvit.data.text.library import text_library

PAD, UNK, CLS, SEP = "[PAD]", "[UNK]", "[CLS]", "[SEP]"

_LONGEST_WORD = 100  # longer ones are [UNK]
_CHARACTERS = 2**16  # whose kind is kept in memory


class WordPieceTokenizer(TextTokenizer):
  """Word pieces of a BERT vocabulary, as `bert-base-uncased` splits them.

  Source: BERT, arXiv:1810.04805, and its published `vocab.txt`. Words are
  those of `bert_words`; each is then matched greedily, the longest piece first,
  pieces inside a word beginning with "##". A word with a part that no piece
  matches is [UNK], and so is one of more than 100 characters, the limit of the
  tokenizers that are in use; BERT's own code has 200.
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
      ValueError: it is not UTF-8, a special piece is missing, [PAD] is not id
        0, or a piece is there twice; or the library `tokenizers` is not there.
    """
    library = text_library("tokenizers")
    pieces = read_lines(vocabulary_file)
    ids = {piece: i for i, piece in enumerate(pieces)}
    missing = [p for p in (PAD, UNK, CLS, SEP) if p not in ids]
    if missing:
      raise ValueError(
        f"{vocabulary_file}: the vocabulary has no {', '.join(missing)}"
      )
    if len(ids) < len(pieces):
      raise ValueError(f"{vocabulary_file}: a piece is in the vocabulary twice")
    if pieces[0] != PAD:
      raise ValueError(
        f"{vocabulary_file}: the first piece must be {PAD}, got {pieces[0]!r}"
      )
    super().__init__(
      length=length,
      start_id=ids[CLS],
      end_id=ids[SEP] if add_sep else None,
    )
    # Its model alone: its normalizer for BERT does not know private-use and
    # recent characters as BERT does, nor the sigma that ends a word.
    model = library.models.WordPiece(
      vocab=ids, unk_token=UNK, max_input_chars_per_word=_LONGEST_WORD
    )
    self._tokenizer = library.Tokenizer(model)
    self._pieces, self._clean = pieces, clean
    self.vocab_size = len(pieces)

  def words(self, caption):
    """The ids of the pieces of all words."""
    caption = clean_caption(caption) if self._clean else caption
    words = bert_words(caption)
    return self._tokenizer.encode(words, is_pretokenized=True).ids

  def content(self):
    """The vocabulary and whether captions are cleaned."""
    return [self._pieces, self._clean]


def bert_words(text: str) -> list[str]:
  """Splits text into words as uncased BERT does, before its word pieces.

  Control characters vanish; words are lower-cased, stripped of accents and
  split at white space, at punctuation and around CJK characters.
  """
  text = "".join(map(_visible, text)).lower()
  return "".join(map(_spaced, unicodedata.normalize("NFD", text))).split()


@functools.lru_cache(_CHARACTERS)
def _visible(char: str) -> str:
  """The character, but nothing for a control and for a decoding error."""
  if char in "\t\n\r":
    return char
  is_control = unicodedata.category(char) in ("Cc", "Cf")
  return "" if is_control or char == "\ufffd" else char


@functools.lru_cache(_CHARACTERS)
def _spaced(char: str) -> str:
  """The character, spaces around it if it is a word; nothing for an accent."""
  category = unicodedata.category(char)
  if category == "Mn":
    return ""
  is_word = _is_punctuation(char, category) or _is_cjk(ord(char))
  return f" {char} " if is_word else char


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
