"""A tiny SentencePiece model, framed as T5 and SigLIP frame captions."""

import numpy as np
import pytest
import sentencepiece
import vocabularies
from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.text import SentencePieceTokenizer

PAD, EOS, UNK = 0, 1, 2


@pytest.fixture(scope="module")
def path(vocabulary_files):
  return vocabulary_files["pieces.model"]


@pytest.fixture(scope="module")
def model(path):
  return sentencepiece.SentencePieceProcessor(model_file=path)


@pytest.fixture(scope="module")
def tokenizer(path):
  return SentencePieceTokenizer(length=64, vocabulary_file=path)


@pytest.fixture
def save(tmp_path):
  """Trains a model with these options and returns its file."""

  def function(**options):
    file = tmp_path / "other.model"
    file.write_bytes(vocabularies.sentences(**options))
    return str(file)

  return function


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(vocabularies.SENTENCES), st.sampled_from(["", " dogs"]))
def test_the_caption_can_be_read_back(model, tokenizer, sentence, more):
  ids, mask = tokenizer.encode(sentence + more)
  assert model.decode(ids[mask][:-1].tolist()) == sentence + more
  assert ids[mask][-1] == EOS and (ids[~mask] == PAD).all()
  assert tokenizer.vocab_size == model.vocab_size()


def test_truncation_keeps_the_end(path, tokenizer):
  short = SentencePieceTokenizer(length=5, vocabulary_file=path)
  caption = vocabularies.SENTENCES[1]
  ids, mask, lost = short.encode_counted(caption)
  whole = tokenizer.words(caption)
  assert ids.tolist() == [*whole[:4], EOS] and mask.all()
  assert lost == len(whole) - 4


def test_without_the_end(path, tokenizer):
  bare = SentencePieceTokenizer(length=64, vocabulary_file=path, add_eos=False)
  ids, mask = bare.encode("the cafe")
  assert ids[mask].tolist() == tokenizer.words("the cafe")
  assert bare.fingerprint() != tokenizer.fingerprint()


def test_what_nothing_matches_is_unknown(tokenizer):
  assert UNK in tokenizer.words("the ñ")
  assert UNK not in tokenizer.words("the cafe")


def test_a_caption_holds_no_special_id(tokenizer):
  for text in ("</s>", "<pad>", "the </s> cafe"):
    assert not {PAD, EOS} & set(tokenizer.words(text))


@pytest.mark.parametrize("option", ["lower", "clean"])
def test_lower_case(path, tokenizer, option):
  other = SentencePieceTokenizer(
    length=64, vocabulary_file=path, **{option: True}
  )
  expected = tokenizer.encode("the cafe runs")
  np.testing.assert_array_equal(other.encode("The CAFE runs"), expected)
  assert (tokenizer.encode("The CAFE runs")[0] != expected[0]).any()
  punctuated = other.encode("the cafe: runs!")[0]
  assert (punctuated == expected[0]).all() == (option == "clean")
  assert other.fingerprint() != tokenizer.fingerprint()


def test_a_sentence_ends_in_a_dot(path, tokenizer):
  """As VideoPrism reads captions."""
  other = SentencePieceTokenizer(
    length=64, vocabulary_file=path, clean="sentence"
  )
  expected = tokenizer.encode("the cafe runs.")
  for caption in ("The CAFE: runs!!", "the-cafe runs.", " the/cafe\tRUNS"):
    np.testing.assert_array_equal(other.encode(caption), expected)
  assert not other.encode(" ")[1].any()
  with pytest.raises(ValueError, match="or 'sentence', got 'sentences'"):
    SentencePieceTokenizer(length=8, vocabulary_file=path, clean="sentences")


def test_padding_with_another_id(path, tokenizer):
  """As SigLIP, which pads with the end id."""
  padded = SentencePieceTokenizer(length=64, vocabulary_file=path, pad_id=EOS)
  ids, mask = padded.encode("the cafe")
  expected, expected_mask = tokenizer.encode("the cafe")
  np.testing.assert_array_equal(mask, expected_mask)
  np.testing.assert_array_equal(ids, np.where(mask, expected, EOS))
  assert (padded.encode("")[0] == EOS).all()
  assert padded.fingerprint() != tokenizer.fingerprint()


def test_a_model_without_padding_needs_an_id(save):
  path = save(pad_id=-1, unk_id=0)
  with pytest.raises(
    ValueError, match=r"other.model: pad_id .*got -1; a model"
  ):
    SentencePieceTokenizer(length=8, vocabulary_file=path)
  tokenizer = SentencePieceTokenizer(length=8, vocabulary_file=path, pad_id=0)
  assert tokenizer.encode("the")[1].any()


@pytest.mark.parametrize("pad_id", [-1, 10**6])
def test_padding_must_be_an_id(path, pad_id):
  with pytest.raises(ValueError, match=f"pieces.model: pad_id .*got {pad_id}"):
    SentencePieceTokenizer(length=8, vocabulary_file=path, pad_id=pad_id)


def test_a_model_without_an_end(save):
  path = save(eos_id=-1, unk_id=1)
  with pytest.raises(ValueError, match="other.model: .*no end id"):
    SentencePieceTokenizer(length=8, vocabulary_file=path)
  bare = SentencePieceTokenizer(length=8, vocabulary_file=path, add_eos=False)
  assert bare.encode("the")[1].any()
