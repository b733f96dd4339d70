"""Byte pairs of CLIP's vocabulary."""

import hashlib
import html
import json
import os
import re

from trajvit.data.text.base import TextTokenizer
from trajvit.data.text.clean import clean_caption
from trajvit.data.text.files import read_ids, read_lines
from trajvit.data.text.library import text_library

START, END = "<|startoftext|>", "<|endoftext|>"

_LAST = "</w>"  # marks the piece that ends a word
# English endings, letters, one digit, or a run of anything but white space. The
# long s, which lower case leaves, is an ending too.
_WORD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"

_ENDLESS_NUMBER = re.compile(r"&#[0-9]{1000,};?")


class BytePairTokenizer(TextTokenizer):
  """Pairs of bytes merged into pieces, as CLIP reads captions.

  Source: byte pair encoding, arXiv:1508.07909, over the bytes of UTF-8, as in
  CLIP, arXiv:2103.00020. HTML entities are resolved twice and words put in
  lower case; a word starts as its bytes, the last marked `</w>`, and the pair
  that was merged first in training is merged until none is left. With CLIP's
  merges the ids are CLIP's: 256 bytes, the same with `</w>`, the merges, and
  the two special ids at the end; padding is 0.

  Two differences to CLIP's own code: text in a wrong encoding is not repaired,
  and `<|endoftext|>` within a caption is text and not the special id, so that
  no caption can end itself.
  """

  def __init__(
    self,
    *,
    length: int = 77,
    merges_file: str,
    num_merges: int = 48_894,
    vocabulary_file: str | None = None,
    clean: bool = False,
  ):
    """Reads the merges.

    Args:
      length: L.
      merges_file: a line with `#version`, then a merge a line, two pieces and a
        space between; CLIP's `bpe_simple_vocab_16e6.txt.gz`, or a `merges.txt`.
      num_merges: how many of its merges count; CLIP's file holds more than its
        models know.
      vocabulary_file: a `vocab.json`, the id of every piece; None numbers them
        as CLIP does.
      clean: applies `clean_caption` first.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: a file is damaged, has too few merges, or one that joins what
        is no piece yet or makes a piece twice; the vocabulary lacks a piece; or
        the library `tokenizers` is not there.
    """
    library = text_library("tokenizers")
    # In the order of their characters these are in CLIP's.
    letters = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    pieces = [*letters, *(letter + _LAST for letter in letters)]
    merges = _read_merges(merges_file, num_merges, pieces)
    pieces += [first + second for first, second in merges]
    pieces += [START, END]
    if vocabulary_file is None:
      ids = {piece: i for i, piece in enumerate(pieces)}
    else:
      ids = read_ids(vocabulary_file)
      missing = next((piece for piece in pieces if piece not in ids), None)
      if missing is not None:
        raise ValueError(
          f"{vocabulary_file}: the vocabulary has no {missing!r}"
        )
    super().__init__(length=length, start_id=ids[START], end_id=ids[END])
    model = library.models.BPE(
      vocab=ids, merges=merges, end_of_word_suffix=_LAST
    )
    self._tokenizer = library.Tokenizer(model)
    split = library.pre_tokenizers
    self._tokenizer.pre_tokenizer = split.Sequence(
      [
        split.Split(library.Regex(_WORD), behavior="removed", invert=True),
        split.ByteLevel(add_prefix_space=False, use_regex=False),
      ]
    )
    self._clean = clean
    content = json.dumps([ids, merges]).encode()
    self._digest = hashlib.sha256(content).hexdigest()
    self.vocab_size = len(ids)

  def words(self, caption):
    """The ids of the pieces of all words; none of them is a special id."""
    caption = clean_caption(caption) if self._clean else caption
    caption = _unescape(_unescape(caption)).strip().lower()
    return self._tokenizer.encode(caption).ids

  def content(self):
    """The vocabulary with its merges, and whether captions are cleaned."""
    return [self._digest, self._clean]


def _unescape(text: str) -> str:
  """Resolves HTML entities, also numbers longer than Python reads."""
  return html.unescape(_ENDLESS_NUMBER.sub("\ufffd", text))


def _read_merges(
  path: str | os.PathLike, count: int, pieces: list[str]
) -> list[tuple[str, str]]:
  """Returns the first `count` merges of a file.

  Each may join only `pieces` and what merges before it made, and makes a new
  one. So the order in which a word's pairs are merged decides nothing but what
  the rank of the merges says.
  """
  header, *lines = read_lines(path)
  if "#version" not in header:
    raise ValueError(
      f"{path}: expected '#version' in the first line, got {header[:60]!r}"
    )
  if not 0 <= count <= len(lines):
    raise ValueError(
      f"{path}: expected num_merges={count} merges, found {len(lines)}"
    )
  known, merges = set(pieces), []
  for number, line in enumerate(lines[:count], 2):
    merge = tuple(line.split(" "))
    if len(merge) != 2 or not known.issuperset(merge):
      raise ValueError(
        f"{path}, line {number}: expected two pieces that are known by then, "
        f"got {line[:60]!r}"
      )
    if "".join(merge) in known:
      raise ValueError(
        f"{path}, line {number}: {''.join(merge)!r} is a piece already"
      )
    known.add("".join(merge))
    merges.append(merge)
  return merges
