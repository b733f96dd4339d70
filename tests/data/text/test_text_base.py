"""What holds for every text tokenizer, whatever the caption."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.text import TEXT_TOKENIZERS, ByteTokenizer, WordTokenizer
from trajvit.data.text.base import TextTokenizer

NAMES = list(TEXT_TOKENIZERS)
WITH_LIBRARY = {
  "wordpiece": "tokenizers",
  "byte_pair": "tokenizers",
  "sentencepiece": "sentencepiece",
}
# fmt: off
PARTS = [
  "the", "cafe", "CAFÉ", ",", "!!", "'s", " ", "\t", "\n", "un", "aff", "able",
  "東京", "[CLS]", "</s>", "<|endoftext|>", "&amp;", "&#0;", "\x00", "\u200b",
  "\ud800", "🥰", "İ", "Σ",
]
# fmt: on
# Any text, halves of characters included, and text in which much matches.
CAPTIONS = st.text(st.characters(exclude_categories=[])) | st.lists(
  st.sampled_from(PARTS)
).map("".join)


@pytest.fixture(scope="module", params=NAMES)
def name(request):
  return request.param


@pytest.fixture(scope="module")
def build(name, text_specs):
  """Builds the tokenizer of the name, with this length."""

  def function(length, **options):
    spec = {"name": name, "length": length, **text_specs[name], **options}
    return TEXT_TOKENIZERS.build(spec)

  return function


@pytest.fixture(scope="module")
def tokenizer(build):
  return build(8)


@pytest.fixture(scope="module")
def long_tokenizer(build):
  return build(2048)


@settings(max_examples=60, deadline=None)
@given(caption=CAPTIONS)
def test_any_text_has_ids(tokenizer, long_tokenizer, caption):
  ids, mask = tokenizer.encode(caption)
  assert ids.shape == mask.shape == (8,)
  assert (ids.dtype, mask.dtype) == (np.int32, bool)
  assert (ids >= 0).all() and (ids < tokenizer.vocab_size).all()
  assert (np.diff(mask.astype(int)) <= 0).all()
  padding = tokenizer.encode("")[0]
  np.testing.assert_array_equal(ids[~mask], padding[~mask])
  np.testing.assert_array_equal(ids, tokenizer.encode(caption)[0])

  # What did not fit is counted, and what fits is the beginning.
  *counted, lost = tokenizer.encode_counted(caption)
  np.testing.assert_array_equal(counted, (ids, mask))
  all_ids, all_mask, none_lost = long_tokenizer.encode_counted(caption)
  assert none_lost == 0
  assert mask.sum() + lost == all_mask.sum()
  if lost:
    assert mask.all()
    np.testing.assert_array_equal(ids[:-1], all_ids[:7])
  else:
    np.testing.assert_array_equal(ids[mask], all_ids[all_mask])


@pytest.mark.parametrize("caption", ["", "  \n\t ", "\u3000"])
def test_an_empty_caption_is_an_empty_slot(tokenizer, caption):
  ids, mask, lost = tokenizer.encode_counted(caption)
  assert not mask.any() and not ids.any() and not lost


def test_a_caption_must_be_a_string(tokenizer):
  with pytest.raises(ValueError, match="must be a string, got b'the'"):
    tokenizer.encode(b"the")


def test_captions_are_framed_alike(name, tokenizer):
  captions = ("the", "cafe", "zebra", "the cafe " * 20)
  rows = [ids[mask] for ids, mask in map(tokenizer.encode, captions)]
  first, last = {int(r[0]) for r in rows}, {int(r[-1]) for r in rows}
  assert (len(first) == 1) == (name != "sentencepiece")
  has_end = name in ("wordpiece", "sentencepiece", "byte_pair")
  assert (len(last) == 1) == has_end


def test_half_a_character_counts_as_a_broken_one(tokenizer):
  for broken in ("the \udc00 cafe", "the \ud83d cafe"):
    ids, mask = tokenizer.encode(broken)
    expected, expected_mask = tokenizer.encode("the \ufffd cafe")
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(mask, expected_mask)


def test_a_copy_in_another_process_encodes_alike(tokenizer):
  copy = pickle.loads(pickle.dumps(tokenizer))
  assert copy.fingerprint() == tokenizer.fingerprint()
  for caption in ("the cafés, unaffable!", "東京"):
    np.testing.assert_array_equal(
      copy.encode(caption), tokenizer.encode(caption)
    )


def test_the_length_is_in_the_fingerprint(build):
  assert build(8).fingerprint() == build(8).fingerprint()
  assert build(8).fingerprint() != build(9).fingerprint()


def test_length_must_hold_a_word(name, build):
  shortest = {"wordpiece": 3, "byte_pair": 3}.get(name, 2)
  assert build(shortest).encode("the")[1].all()
  for length in (0, shortest - 1):
    with pytest.raises(ValueError, match=f"at least {shortest}, got {length}"):
      build(length)


@pytest.mark.parametrize(
  "name", ["bytes", "wordpiece", "byte_pair"], indirect=True
)
def test_cleaning_is_an_option(build):
  raw, clean = build(16), build(16, clean=True)
  np.testing.assert_array_equal(
    clean.encode("The, the")[0], raw.encode("the the")[0]
  )
  assert (clean.encode("the, the")[0] != raw.encode("the, the")[0]).any()
  assert not clean.encode("?!")[1].any()
  assert clean.fingerprint() != raw.fingerprint()


def test_without_its_library(name, build, monkeypatch):
  if name not in WITH_LIBRARY:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    assert build(8).encode("the")[1].any()
    return
  monkeypatch.setitem(sys.modules, WITH_LIBRARY[name], None)
  message = rf"library {WITH_LIBRARY[name]}: .*'trajvit\[text\]'"
  with pytest.raises(ValueError, match=message):
    build(8)


class Numbers(TextTokenizer):
  """Ids that a caption spells out."""

  vocab_size = 100

  def words(self, caption):
    return [int(word) for word in caption.split()]

  def content(self):
    return []


@pytest.mark.parametrize(
  ("frame", "caption", "expected", "lost"),
  [
    ({}, "1 2", [1, 2, 0, 0], 0),
    ({}, "1 2 3 4 5", [1, 2, 3, 4], 1),
    ({"start_id": 9}, "1 2 3", [9, 1, 2, 3], 0),
    ({"end_id": 8}, "1 2 3 4 5", [1, 2, 3, 8], 2),
    ({"start_id": 9, "end_id": 8}, "1 2 3", [9, 1, 2, 8], 1),
    ({"start_id": 9, "end_id": 8, "pad_id": 8}, "1", [9, 1, 8, 8], 0),
    ({"start_id": 9, "end_id": 8, "pad_id": 8}, "", [8, 8, 8, 8], 0),
  ],
)
def test_framing(frame, caption, expected, lost):
  tokenizer = Numbers(length=4, **frame)
  ids, mask, found = tokenizer.encode_counted(caption)
  assert (ids.tolist(), found) == (expected, lost)
  real = len(caption.split()) - lost + len(frame.keys() - {"pad_id"})
  assert mask.sum() == (real if caption else 0)


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


def test_unknown_name_and_unread_key():
  known = "known: byte_pair, bytes, sentencepiece, wordpiece, words"
  with pytest.raises(ValueError, match=known):
    TEXT_TOKENIZERS.build({"name": "spm"})
  with pytest.raises(ValueError, match="reads no 'vocabulary'"):
    TEXT_TOKENIZERS.build({"name": "bytes", "length": 8, "vocabulary": []})
