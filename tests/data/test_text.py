"""Text tokenizers against ids worked out by hand."""

import numpy as np
import pytest

from trajvit.data.synthetic.caption import caption_words
from trajvit.data.text import (
  TEXT_TOKENIZERS,
  ByteTokenizer,
  WordPieceTokenizer,
  WordTokenizer,
  bert_words,
  clean_caption,
)

# fmt: off
PIECES = [
  "[PAD]", "[UNK]", "[CLS]", "[SEP]",  # 0 to 3
  "un", "##aff", "##able", "##a", "the", "cafe", "##s", ",", "!",  # 4 to 12
  "run", "##ning", "##n", "runn", "東", "京", "-",  # 13 to 19
]
# fmt: on


@pytest.fixture
def vocabulary_file(tmp_path):
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
  return str(path)


@pytest.fixture(params=["words", "bytes", "wordpiece"])
def tokenizer(request, vocabulary_file):
  return TEXT_TOKENIZERS.build(
    {"name": request.param, "length": 8},
    **{
      "words": {"vocabulary": ["the", "cafe"]},
      "bytes": {},
      "wordpiece": {"vocabulary_file": vocabulary_file},
    }[request.param],
  )


class TestAll:
  def test_ids_and_mask(self, tokenizer):
    for caption in ("the", "the cafe the cafe the cafe the cafe the cafe"):
      ids, mask = tokenizer.encode(caption)
      assert ids.shape == mask.shape == (8,)
      assert (ids.dtype, mask.dtype) == (np.int32, bool)
      assert (ids >= 0).all() and (ids < tokenizer.vocab_size).all()
      assert ((ids != 0) == mask).all()
      assert mask[:2].all() and (np.diff(mask.astype(int)) <= 0).all()
    assert mask.all()

  @pytest.mark.parametrize("caption", ["", "  \n\t "])
  def test_an_empty_caption_is_an_empty_slot(self, tokenizer, caption):
    ids, mask = tokenizer.encode(caption)
    assert not mask.any() and not ids.any()

  def test_captions_begin_alike(self, tokenizer):
    first = {int(tokenizer.encode(c)[0][0]) for c in ("the", "cafe", "zebra")}
    assert len(first) == 1

  def test_a_caption_must_be_a_string(self, tokenizer):
    with pytest.raises(ValueError, match="must be a string, got b'the'"):
      tokenizer.encode(b"the")


class TestClean:
  def test_as_trajvit_cleans(self):
    text = ' <person> said: "Hi!" (a T-shirt/tee) *#1; it\'s ~2.5, ok?\n'
    expected = "person said hi a t shirt tee 1 its 25 ok"
    assert clean_caption(text) == expected

  def test_is_idempotent(self):
    text = "A <PERSON> -- walks...  away"
    assert clean_caption(text) == "a person walks away"
    assert clean_caption(clean_caption(text)) == clean_caption(text)

  @pytest.mark.parametrize("name", ["bytes", "wordpiece"])
  def test_by_option(self, name, vocabulary_file):
    spec = {"name": name, "length": 8}
    if name == "wordpiece":
      spec["vocabulary_file"] = vocabulary_file
    raw = TEXT_TOKENIZERS.build(spec)
    clean = TEXT_TOKENIZERS.build({**spec, "clean": True})
    np.testing.assert_array_equal(
      clean.encode("The, the")[0], raw.encode("the the")[0]
    )
    assert (clean.encode("the, the")[0] != raw.encode("the, the")[0]).any()
    assert not clean.encode("?!")[1].any()


class TestWords:
  def test_ids_count_up_after_the_special_ones(self):
    tokenizer = WordTokenizer(length=8, vocabulary=["a", ",", "star"])
    ids, _ = tokenizer.encode("A star, a zebra")
    assert ids.tolist() == [2, 3, 5, 4, 3, 1, 0, 0]
    assert tokenizer.vocab_size == 6

  def test_a_long_caption_loses_its_end(self):
    tokenizer = WordTokenizer(length=3, vocabulary=["a", "b", "c"])
    assert tokenizer.encode("a b c")[0].tolist() == [2, 3, 4]

  def test_moving_sprites_names_its_vocabulary(self):
    named = WordTokenizer(length=26, vocabulary="moving_sprites")
    listed = WordTokenizer(length=26, vocabulary=caption_words())
    assert named.fingerprint() == listed.fingerprint()
    ids, mask = named.encode("a striped red square grows, the camera pans left")
    assert 1 not in ids[mask] and mask.sum() == 1 + 10

  @pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
      ("english", "list of words or 'moving_sprites', got 'english'"),
      (["a", "a"], "a word twice"),
      (["Big"], "lower case.*'Big'"),
      (["two words"], "'two words'"),
      (["end,"], "'end,'"),
      ([""], "got ''"),
      ([3], "got 3"),
    ],
  )
  def test_bad_vocabularies(self, vocabulary, message):
    with pytest.raises(ValueError, match=message):
      WordTokenizer(length=8, vocabulary=vocabulary)


class TestBytes:
  def test_utf8(self):
    tokenizer = ByteTokenizer(length=6)
    ids, _ = tokenizer.encode("aé")
    assert ids.tolist() == [1, 2 + 0x61, 2 + 0xC3, 2 + 0xA9, 0, 0]
    assert tokenizer.vocab_size == 258

  def test_differs_in_case(self):
    tokenizer = ByteTokenizer(length=6)
    assert (tokenizer.encode("a")[0] != tokenizer.encode("A")[0]).any()


class TestWordPiece:
  @pytest.fixture
  def tokenizer(self, vocabulary_file):
    return WordPieceTokenizer(length=8, vocabulary_file=vocabulary_file)

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
    ],
  )
  def test_greedy_longest_match(self, tokenizer, caption, pieces):
    ids, mask = tokenizer.encode(caption)
    assert ids[mask].tolist() == [2, *pieces, 3]

  def test_without_sep(self, vocabulary_file):
    tokenizer = WordPieceTokenizer(
      length=4, vocabulary_file=vocabulary_file, add_sep=False
    )
    assert tokenizer.encode("the the")[0].tolist() == [2, 8, 8, 0]
    assert tokenizer.encode("the the the the")[0].tolist() == [2, 8, 8, 8]

  def test_truncation_keeps_sep(self, tokenizer):
    ids, mask = tokenizer.encode("the " * 20)
    assert ids.tolist() == [2, 8, 8, 8, 8, 8, 8, 3] and mask.all()

  def test_ids_are_line_numbers(self, tokenizer):
    assert tokenizer.vocab_size == len(PIECES)

  @pytest.mark.parametrize(
    ("pieces", "message"),
    [
      (["[PAD]", "[UNK]", "[CLS]"], r"no \[SEP\]"),
      (["[UNK]", "[PAD]", "[CLS]", "[SEP]"], r"first piece must be \[PAD\]"),
      (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"], "twice"),
    ],
  )
  def test_bad_vocabularies(self, tmp_path, pieces, message):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(pieces))
    with pytest.raises(ValueError, match=message):
      WordPieceTokenizer(length=8, vocabulary_file=str(path))

  def test_missing_file(self, tmp_path):
    with pytest.raises(FileNotFoundError):
      WordPieceTokenizer(length=8, vocabulary_file=str(tmp_path / "none.txt"))


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
def test_bert_words(text, words):
  assert bert_words(text) == words


def test_fingerprints_differ_where_ids_may():
  prints = [
    WordTokenizer(length=8, vocabulary=["a", "b"]).fingerprint(),
    WordTokenizer(length=9, vocabulary=["a", "b"]).fingerprint(),
    WordTokenizer(length=8, vocabulary=["b", "a"]).fingerprint(),
    ByteTokenizer(length=8).fingerprint(),
    ByteTokenizer(length=8, clean=True).fingerprint(),
  ]
  assert len(set(prints)) == len(prints)
  again = WordTokenizer(length=8, vocabulary=["a", "b"]).fingerprint()
  assert again == prints[0]


@pytest.mark.parametrize("length", [0, 1])
def test_length_must_hold_a_word(length):
  with pytest.raises(ValueError, match=f"at least 2, got {length}"):
    ByteTokenizer(length=length)


def test_unknown_name_and_unread_key():
  with pytest.raises(ValueError, match="known: bytes, wordpiece, words"):
    TEXT_TOKENIZERS.build({"name": "sentencepiece"})
  with pytest.raises(ValueError, match="reads no 'vocabulary'"):
    TEXT_TOKENIZERS.build({"name": "bytes", "length": 8, "vocabulary": []})
