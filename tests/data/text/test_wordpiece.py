"""Word pieces against BERT's definition, written out slowly, and by hand."""

import unicodedata

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vocabularies import PIECES

from trajvit.data.text import WordPieceTokenizer
from trajvit.data.text.wordpiece import bert_words

# fmt: off
PARTS = [
  "un", "aff", "able", "a", "the", "The", "cafe", "CAFÉ", "s", ",", "!", "run",
  "ning", "n", "東", "京", "-", " ", "\t", "\x00", "\xad", "\u200b", "\u0301",
  "\ufffd", "\ue000", "Σ", "[UNK]", "##", "[", "İ", "ﬁ", "\u2028",
]
# fmt: on
# Much that matches, and any character beside it.
TEXT = st.lists(
  st.sampled_from(PARTS) | st.characters(exclude_categories=["Cs"])
).map("".join)

# First and last character of the blocks that BERT's code lists.
IDEOGRAPHS = """
4E00-9FFF 3400-4DBF 20000-2A6DF 2A700-2B73F 2B740-2B81F 2B820-2CEAF F900-FAFF
2F800-2FA1F
"""


def is_ideograph(char: str) -> bool:
  blocks = [block.split("-") for block in IDEOGRAPHS.split()]
  return any(int(a, 16) <= ord(char) <= int(b, 16) for a, b in blocks)


def slow_words(text: str) -> list[str]:
  """The four passes of BERT, one after the other."""
  kept = [
    " " if char in "\t\n\r" or unicodedata.category(char) == "Zs" else char
    for char in text
    if char in "\t\n\r"
    or (unicodedata.category(char) not in ("Cc", "Cf") and char != "\ufffd")
  ]
  kept = [f" {c} " if is_ideograph(c) else c for c in kept]
  words = []
  for word in "".join(kept).split():
    letters = [
      char
      for char in unicodedata.normalize("NFD", word.lower())
      if unicodedata.category(char) != "Mn"
    ]
    words += "".join(
      f" {char} "
      if unicodedata.category(char)[0] == "P" or char in "$+<=>^`|~"
      else char
      for char in letters
    ).split()
  return words


def slow_pieces(word: str) -> list[int]:
  """Tries every piece at every place, the longest first."""
  ids, rest, prefix = [], word, ""
  while rest and len(word) <= 100:
    ends = [n for n in range(1, len(rest) + 1) if prefix + rest[:n] in PIECES]
    if not ends:
      return [PIECES.index("[UNK]")]
    ids.append(PIECES.index(prefix + rest[: ends[-1]]))
    rest, prefix = rest[ends[-1] :], "##"
  return ids or [PIECES.index("[UNK]")]


@pytest.fixture(scope="module")
def tokenizer(vocabulary_files):
  return WordPieceTokenizer(
    length=8, vocabulary_file=vocabulary_files["vocab.txt"]
  )


@settings(max_examples=300, deadline=None)
@example("ΑΣ ΒΣ.")  # a sigma that ends a word
@example("ΑΣ\x00Β")  # one that only seems to
@example("a\ue000b the\ue000")  # a private-use character is no control
@example("a\U0002b820b")  # the first ideograph of a later extension
@example("\u1734 \U00011938")  # marks of recent Unicode
@example("runn" * 25 + " " + "runn" * 26)
@given(text=TEXT)
def test_equals_the_definition(tokenizer, text):
  assert bert_words(text) == slow_words(text)
  expected = [i for word in slow_words(text) for i in slow_pieces(word)]
  assert tokenizer.words(text) == expected


@pytest.mark.parametrize(
  ("caption", "pieces"),
  [
    ("unaffable", [4, 5, 6]),  # un ##aff ##able, never ##a before ##aff
    ("running the", [1, 8]),  # greedy takes runn, and ##ing is no piece
    ("runnning", [16, 14]),
    ("runn", [16]),
    ("Cafés!", [9, 10, 12]),  # accent stripped, punctuation split
    ("the,the", [8, 11, 8]),
    ("zebra the", [1, 8]),
    ("unaffablex", [1]),  # an unmatched end makes the whole word unknown
    ("東京", [17, 18]),  # each a word
    ("un\u200bun\x00", [1]),  # control characters vanish: "unun"
    ("a" * 101 + " the", [1, 8]),
    ("run-ru\u0301n", [13, 19, 13]),
    ("[PAD]", [1, 1, 1]),  # three words, and no special id
  ],
)
def test_greedy_longest_match(tokenizer, caption, pieces):
  ids, mask = tokenizer.encode(caption)
  assert ids[mask].tolist() == [2, *pieces, 3]


def test_without_sep(vocabulary_files):
  tokenizer = WordPieceTokenizer(
    length=4, vocabulary_file=vocabulary_files["vocab.txt"], add_sep=False
  )
  assert tokenizer.encode("the the")[0].tolist() == [2, 8, 8, 0]
  assert tokenizer.encode("the the the the")[0].tolist() == [2, 8, 8, 8]


def test_truncation_keeps_sep(tokenizer):
  ids, mask, lost = tokenizer.encode_counted("the " * 20)
  assert ids.tolist() == [2, 8, 8, 8, 8, 8, 8, 3] and mask.all()
  assert lost == 20 - 6


def test_ids_are_line_numbers(tokenizer):
  assert tokenizer.vocab_size == len(PIECES)


def test_line_ends_are_no_part_of_a_piece(tokenizer, tmp_path):
  path = tmp_path / "vocab.txt"
  path.write_bytes("\r\n".join(PIECES).encode("utf-8-sig"))
  other = WordPieceTokenizer(length=8, vocabulary_file=str(path))
  assert other.fingerprint() == tokenizer.fingerprint()
  np.testing.assert_array_equal(other.encode("the"), tokenizer.encode("the"))


@pytest.mark.parametrize(
  ("pieces", "message"),
  [
    (["[PAD]", "[UNK]", "[CLS]"], r"no \[SEP\]"),
    (["[UNK]", "[PAD]", "[CLS]", "[SEP]"], r"first piece must be \[PAD\]"),
    (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"], "twice"),
  ],
)
def test_bad_vocabularies(tmp_path, pieces, message):
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join(pieces))
  with pytest.raises(ValueError, match=f"vocab.txt: .*{message}"):
    WordPieceTokenizer(length=8, vocabulary_file=str(path))


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("Hello,World", ["hello", ",", "world"]),
    ("it's $5^2", ["it", "'", "s", "$", "5", "^", "2"]),
    ("ÀÉÎ\u3000ñ", ["aei", "n"]),
    ("a\tb\r\nc", ["a", "b", "c"]),
    ("“quoted”", ["“", "quoted", "”"]),
    ("ひらがな", ["ひらかな"]),  # kana stay whole and lose their voicing mark
    ("", []),
  ],
)
def test_words_by_hand(text, words):
  assert bert_words(text) == words
