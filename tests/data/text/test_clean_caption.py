"""The cleaning of captions against what was worked out by hand."""

from hypothesis import given, settings
from hypothesis import strategies as st

from trajvit.data.text import clean_caption


def test_as_trajvit_cleans():
  text = ' <person> said: "Hi!" (a T-shirt/tee) *#1; it\'s ~2.5, ok?\n'
  expected = "person said hi a t shirt tee 1 its 25 ok"
  assert clean_caption(text) == expected


def test_is_idempotent():
  text = "A <PERSON> -- walks...  away"
  assert clean_caption(text) == "a person walks away"
  assert clean_caption(clean_caption(text)) == clean_caption(text)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_leaves_no_punctuation_and_single_spaces(text):
  cleaned = clean_caption(text)
  assert not set(cleaned) & set(",.'!?\"()*#:;~-/")
  assert cleaned == " ".join(cleaned.split())
