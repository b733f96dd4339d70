import pytest

from trajvit.table import Table


def half(*, size: int, rngs=None):
  """Returns half of `size`.

  More text.
  """
  return size // 2


TABLE = Table("divider", {"half": half})


def test_context_is_offered_and_overridden():
  assert TABLE.build(dict(name="half"), size=8, width=3) == 4
  assert TABLE.build(dict(name="half", size=2), size=8) == 1


def test_errors_list_what_is_known():
  with pytest.raises(ValueError, match="unknown divider 'third'; known: half"):
    TABLE.build(dict(name="third"))
  with pytest.raises(ValueError, match="'half' reads no 'sise'; it takes size"):
    TABLE.build(dict(name="half", sise=2))
  with pytest.raises(ValueError, match="a divider needs a name, one of half"):
    TABLE.build(dict(size=2))


def test_describes_an_entry_by_its_first_line():
  assert TABLE.describe() == [("half", "Returns half of `size`.")]
