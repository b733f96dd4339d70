import numpy as np
import pytest

from trajvit.encoders.restage import restage


def stages_of(*depths):
  """Stages whose blocks hold their own number."""
  ends = np.cumsum(depths)
  return {
    i: {"layers": {"kernel": np.arange(end - depth, end)[:, None]}}
    for i, (end, depth) in enumerate(zip(ends, depths, strict=True))
  }


@pytest.mark.parametrize("depths", [(3,), (1, 2), (1, 1, 1)])
def test_blocks_keep_their_order(depths):
  found, expected = restage(stages_of(2, 1), depths), stages_of(*depths)
  assert found.keys() == expected.keys()
  for number, stage in expected.items():
    np.testing.assert_array_equal(
      found[number]["layers"]["kernel"], stage["layers"]["kernel"]
    )


def test_no_block_is_lost():
  with pytest.raises(ValueError, match=r"sum to the 3 blocks .* got \(1, 1\)"):
    restage(stages_of(2, 1), (1, 1))
