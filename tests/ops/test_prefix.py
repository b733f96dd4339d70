"""Prefixes are drawn as often as asked, and shown with little noise."""

import jax
import numpy as np
import pytest

from trajvit.ops.prefix import check_prefix, draw_prefix


def test_lengths_and_levels_follow_their_laws():
  keys = jax.random.split(jax.random.key(0), 4000)
  shown, sigma = draw_prefix(keys, 4, (0, 2, 3), (0.5, 0.2, 0.3))
  lengths = np.asarray(shown.sum(1))
  assert (shown == (np.arange(4) < lengths[:, None])).all()
  share = np.bincount(lengths, minlength=4) / 4000
  np.testing.assert_allclose(share, [0.5, 0, 0.2, 0.3], atol=0.03)
  sigma = np.asarray(sigma)
  assert 0.47 < (sigma == 0).mean() < 0.53
  assert 0.0195 < sigma.max() <= 0.02
  assert abs(sigma[sigma > 0].mean() - 0.01) < 0.001


def test_what_cannot_be_drawn():
  with pytest.raises(ValueError, match=r"multiples of 2 in \[0, 4\]"):
    check_prefix((0, 3), (0.5, 0.5), frames=4, step=2)
  with pytest.raises(ValueError, match=r"must be 2 and sum to 1"):
    check_prefix((0, 2), (0.5, 0.6), frames=4, step=2)
  check_prefix((0, 4), (0.5, 0.5), frames=4, step=2)
