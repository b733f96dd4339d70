"""CLIP's byte pairs against their definition, written out slowly."""

import gzip
import html
import json
import unicodedata

import pytest
import vocabularies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from vocabularies import MERGES

from trajvit.data.text import BytePairTokenizer

PIECES = vocabularies.clip_pieces()
START, END = len(PIECES) - 2, len(PIECES) - 1


def is_settled(char: str) -> bool:
  """Whether all versions of Unicode agree on what a character is."""
  first = unicodedata.ucd_3_2_0.category(char)
  return first == unicodedata.category(char)


# fmt: off
PARTS = [
  "at", "cat", "the", "The", "ing", "aa", "aaa", "aaaa", "agag", "'s", "'ll",
  "é", "!!", "!", "7", " ", "  ", "\t", "\x1c", "\x85", "&lt;", "&amp;amp;",
  "<|endoftext|>", "Σ", "İ", "東京", "🥰",
]
# fmt: on
TEXT = st.lists(
  st.sampled_from(PARTS)
  | st.characters(exclude_categories=["Cs", "Cn", "Co"]).filter(is_settled)
).map("".join)


def slow_words(text: str) -> list[str]:
  """Reads from the left: an ending, or the longest run of one kind."""

  def kind(char):
    category = unicodedata.category(char)[0]
    is_space = char.isspace() and char not in "\x1c\x1d\x1e\x1f"
    return category if category in "LN" else "space" if is_space else "other"

  words = []
  while text:
    endings = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
    size = next((n for n in (2, 3) if text[:n].casefold() in endings), 0)
    if not size:
      size = 1
      while kind(text[0]) != "N" and size < len(text):
        if kind(text[size]) != kind(text[0]):
          break
        size += 1
    if kind(text[0]) != "space":
      words.append(text[:size])
    text = text[size:]
  return words


def slow_pairs(word: str) -> list[str]:
  """Merges the pair that comes first in the list, wherever it is, and again."""
  letters = vocabularies.byte_letters()
  parts = [letters[byte] for byte in word.encode()]
  parts[-1] += "</w>"
  for first, second in map(str.split, MERGES):
    merged = []
    while parts:
      if parts[:2] == [first, second]:
        merged.append(first + second)
        parts = parts[2:]
      else:
        merged.append(parts.pop(0))
    parts = merged
  return parts


def build(files, **options):
  options = {"length": 16, "num_merges": len(MERGES)} | options
  return BytePairTokenizer(merges_file=files["merges.txt.gz"], **options)


@pytest.fixture(scope="module")
def tokenizer(vocabulary_files):
  return build(vocabulary_files)


@settings(max_examples=150, deadline=None)
@example("it's")
@example("the cat's aaaaa")
@example("ΑΣ ΒΣ")
@example("it'ſ 'sÉ")  # a long s
@example("a<|endoftext|>b<|startoftext|>")
@given(text=TEXT)
def test_equals_the_definition(tokenizer, text):
  cleaned = html.unescape(html.unescape(text)).strip().lower()
  pieces = [p for word in slow_words(cleaned) for p in slow_pairs(word)]
  assert tokenizer.words(text) == [PIECES.index(piece) for piece in pieces]


@pytest.mark.parametrize(
  ("caption", "pieces"),
  [
    ("cat", ["cat</w>"]),
    ("Cat's", ["cat</w>", "'s</w>"]),
    ("cats", ["c", "at", "s</w>"]),
    ("the  cat", ["the</w>", "cat</w>"]),
    ("aaa", ["aaa</w>"]),
    ("aaaa", ["aa", "a", "a</w>"]),
    ("é é1", ["Ã©</w>", "Ã©</w>", "1</w>"]),
    ("42", ["4</w>", "2</w>"]),  # digits stand alone
    ("cat!!", ["cat</w>", "!!</w>"]),
    ("&amp;lt;", ["<</w>"]),
    ("a\u3000b", ["a</w>", "b</w>"]),
  ],
)
def test_by_hand(tokenizer, caption, pieces):
  ids, mask = tokenizer.encode(caption)
  expected = [PIECES.index(piece) for piece in pieces]
  assert ids[mask].tolist() == [START, *expected, END]


@pytest.mark.parametrize("start", ["&#", "&amp;#"])
def test_an_entity_of_many_digits_is_no_character(tokenizer, start):
  text = f"the {start}{'9' * 5000}; cat"
  assert tokenizer.words(text) == tokenizer.words("the \ufffd cat")


def test_ids_are_numbered_as_clip_numbers_them(tokenizer):
  # As in CLIP's vocabulary: "!" is 0, and "!" that ends a word is 256.
  assert tokenizer.words("!?") == [0, 256 + 30]
  assert tokenizer.words("at")[0] == 512
  assert tokenizer.vocab_size == 512 + len(MERGES) + 2


def test_truncation_keeps_the_end(vocabulary_files):
  short = build(vocabulary_files, length=5)
  ids, mask, lost = short.encode_counted("the cat the cat the")
  the, cat = PIECES.index("the</w>"), PIECES.index("cat</w>")
  assert ids.tolist() == [START, the, cat, the, END] and mask.all()
  assert lost == 2


def test_a_caption_holds_no_special_id(tokenizer):
  ids, mask = tokenizer.encode("a <|endoftext|> b <|STARTOFTEXT|>")
  assert (ids == END).sum() == 1 and ids[mask][-1] == END
  assert (ids == START).sum() == 1


def test_a_vocabulary_numbers_the_same_pieces(vocabulary_files, tokenizer):
  numbered = build(
    vocabulary_files, vocabulary_file=vocabulary_files["vocab.json"]
  )
  for caption in ("the cat's", "naïve!!"):
    ids = numbered.words(caption)
    assert [END - i for i in ids] == tokenizer.words(caption)
  assert numbered.vocab_size == tokenizer.vocab_size
  assert numbered.fingerprint() != tokenizer.fingerprint()


def test_fewer_merges(vocabulary_files):
  few = build(vocabulary_files, num_merges=1)
  assert few.words("cat") == [PIECES.index("c"), PIECES.index("at</w>")]
  assert few.vocab_size == 512 + 1 + 2


@pytest.mark.parametrize(
  ("lines", "count", "message"),
  [
    (["a b"], 0, "expected '#version' in the first line, got 'a b'"),
    (["#version", "a b"], 2, "expected num_merges=2 merges, found 1"),
    (["#version", "a b"], -1, "expected num_merges=-1 merges, found 1"),
    (["#version", "a b", "ab cd"], 2, "line 3: .*known by then, got 'ab cd'"),
    (["#version", "ab c", "a b"], 2, "line 2: .*known by then, got 'ab c'"),
    (["#version", "a b c"], 1, "line 2: expected two pieces"),
    (["#version", "a  b"], 1, "line 2: expected two pieces"),
    (["#version", "", "a b"], 2, "line 2: expected two pieces"),
    (["#version", "a b", "a b"], 2, "line 3: 'ab' is a piece already"),
    (["#version", "a b", "b c", "ab c", "a bc"], 4, "line 5: 'abc' is a"),
  ],
)
def test_bad_merges(tmp_path, lines, count, message):
  for name, pack in ("merges.txt", bytes), ("merges.txt.gz", gzip.compress):
    path = tmp_path / name
    path.write_bytes(pack("\n".join(lines).encode()))
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
      BytePairTokenizer(merges_file=str(path), num_merges=count)


@pytest.mark.parametrize(
  "missing", ["<|startoftext|>", "<|endoftext|>", "the</w>"]
)
def test_a_vocabulary_must_have_every_piece(
  vocabulary_files, tmp_path, missing
):
  pieces = [piece for piece in PIECES if piece != missing]
  path = tmp_path / "vocab.json"
  path.write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
  message = f"vocab.json: .* no {missing!r}".replace("|", r"\|")
  with pytest.raises(ValueError, match=message):
    build(vocabulary_files, vocabulary_file=str(path))
