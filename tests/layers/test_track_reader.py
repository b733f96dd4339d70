"""A reader of tracks is built for some frames, or for any."""

import numpy as np
import pytest
from flax import nnx

from trajvit.layers.track_reader import TrackReader


@pytest.mark.parametrize("frames", [1, 3])
def test_a_vector_for_each_frame_is_for_that_number(frames):
  reader = TrackReader(3, 4, num_heads=2, frames=frames, rngs=nnx.Rngs(0))
  with pytest.raises(ValueError, match=f"must have {frames} frames, .* got 4"):
    reader(np.zeros((2, 4, 3), np.float32), np.ones((2, 4), bool))
