"""Bytes against ids worked out by hand, and back."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.text import ByteTokenizer


def test_utf8():
  tokenizer = ByteTokenizer(length=6)
  ids, _ = tokenizer.encode("aé")
  assert ids.tolist() == [1, 2 + 0x61, 2 + 0xC3, 2 + 0xA9, 0, 0]
  assert tokenizer.vocab_size == 258


def test_differs_in_case():
  tokenizer = ByteTokenizer(length=6)
  assert (tokenizer.encode("a")[0] != tokenizer.encode("A")[0]).any()


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_the_caption_can_be_read_back(caption):
  ids, mask = ByteTokenizer(length=4096).encode(caption)
  assert bytes((ids[mask][1:] - 2).tolist()).decode() == caption.strip()
