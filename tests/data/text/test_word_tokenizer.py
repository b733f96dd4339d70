"""Whole words against ids worked out by hand."""

import pytest

from trajvit.data.synthetic.caption import caption_words
from trajvit.data.text import WordTokenizer


def test_ids_count_up_after_the_special_ones():
  tokenizer = WordTokenizer(length=8, vocabulary=["a", ",", "star"])
  ids, _ = tokenizer.encode("A star, a zebra")
  assert ids.tolist() == [2, 3, 5, 4, 3, 1, 0, 0]
  assert tokenizer.vocab_size == 6


def test_a_long_caption_loses_its_end():
  tokenizer = WordTokenizer(length=3, vocabulary=["a", "b", "c"])
  assert tokenizer.encode("a b c")[0].tolist() == [2, 3, 4]
  assert tokenizer.encode_counted("a b c")[2] == 1


def test_moving_sprites_names_its_vocabulary():
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
def test_bad_vocabularies(vocabulary, message):
  with pytest.raises(ValueError, match=message):
    WordTokenizer(length=8, vocabulary=vocabulary)
