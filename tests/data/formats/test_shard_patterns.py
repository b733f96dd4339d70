"""Patterns of shard names: what they mean, and what they may not."""

import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from trajvit.data.formats.patterns import expand, matching

NAMES = ["a-000.tar", "a-001.tar", "a-010.tar", "b-000.tar", "x{1}.tar"]


@pytest.mark.parametrize(
  ("pattern", "names"),
  [
    ("a.tar", ["a.tar"]),
    ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
    ("{a,b}{1..2}", ["a1", "a2", "b1", "b2"]),
    ("{9..10}", ["9", "10"]),
    ("*{,.tar}", ["*", "*.tar"]),
  ],
)
def test_braces(pattern, names):
  assert expand(pattern, "here") == names


@pytest.mark.parametrize(
  ("pattern", "numbers"),
  [
    ("*.tar", [0, 1, 2, 3, 4]),
    ("a-{000..001}.tar", [0, 1]),
    ("{b,a}-000.tar", [0, 3]),  # in the order of the names
    ("a-0?0.tar", [0, 2]),
    ("a-00[1-9].tar", [1]),
  ],
)
def test_which_names_a_pattern_means(pattern, numbers):
  assert matching(NAMES, pattern, "here") == [NAMES[i] for i in numbers]


@pytest.mark.parametrize(
  ("pattern", "message"),
  [
    ("", "names of shards without a folder, got ''"),
    ("..", "names of shards without a folder"),
    ("../a.tar", "names of shards without a folder"),
    ("/etc/*", "names of shards without a folder"),
    ("a\0", "names of shards without a folder"),
    ("a{1", "pairs of braces"),
    ("{a{1}}", "pairs of braces"),
    ("{1..999999999}", "up to 100,000 numbers"),
    ("{2..1}", "up to 100,000 numbers"),
    ("{0..9999}{0..9999}", "means above 100,000 shards"),
  ],
)
def test_patterns_that_are_refused(pattern, message):
  with pytest.raises(ValueError, match=f"^here: .*{message}"):
    expand(pattern, "here")


def test_every_name_of_braces_must_be_there():
  with pytest.raises(ValueError, match="expected shards 'a-002.tar', found no"):
    matching(NAMES, "a-{000..002}.tar", "here")


@fuzz(60)
@given(st.text("a/.{},*[]0129", max_size=12))
def test_any_pattern_gives_known_names_or_is_refused(pattern):
  try:
    assert set(matching(NAMES, pattern, "here")) <= set(NAMES)
  except ValueError as error:
    assert str(error).startswith("here")
