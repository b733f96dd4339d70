"""What a benchmark must hold, and holding it to that."""

from collections.abc import Mapping


def check_counts(
  name: str, expected: Mapping[str, int], found: Mapping[str, int]
) -> None:
  """Raises ValueError unless everything that is expected was found.

  Args:
    name: of the benchmark and its split, such as "msrvtt test_1k_a".
    expected: what is counted, such as "clips" -> how many.
    found: the same, of the files at hand.
  """
  wrong = [
    f"{count} {what}, found {found.get(what, 0)}"
    for what, count in expected.items()
    if found.get(what, 0) != count
  ]
  if wrong:
    raise ValueError(
      f"{name}: expected {'; expected '.join(wrong)}; with counts=False what "
      "was found is used, and is another benchmark"
    )
