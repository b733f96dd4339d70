import numpy as np
import pytest

from trajvit.ops.token_front import cut, rejoin
from trajvit.types import Tokens


def test_what_is_cut_is_rejoined_without_gaps():
  mask = np.array([[True, True, False, True], [True, False, False, True]])
  tokens = Tokens(
    features=np.arange(8.0, dtype=np.float32).reshape(2, 4, 1),
    mask=mask,
    positions=np.zeros((2, 4, 3), np.float32),
    size=np.ones((2, 4), np.float32),
    protected=np.tile(np.arange(4) < 1, (2, 1)),
  )
  front, rest = cut(tokens, 1)
  assert front.protected.all() and not rest.protected.any()
  joined = rejoin(front, rest, 5)
  assert joined.features[..., 0].tolist() == [[0, 1, 3, 0, 0], [4, 7, 0, 0, 0]]
  assert joined.mask.sum(1).tolist() == [3, 2] and joined.segments is None
  assert joined.protected.sum(1).tolist() == [1, 1]
  with pytest.raises(ValueError, match="3 slots, got 4"):
    rejoin(front, rest, 3)
