import numpy as np
import pytest

from trajvit.reducers.dycoke import DyCoke, reference_frames
from trajvit.types import Tokens

GRID = (8, 2, 5)


def make_tokens(rng):
  """A class token and 80 patches; the last frame of clip 1 is padding."""
  mask = np.ones((2, 81), bool)
  mask[1, 71:] = False
  features = rng.normal(size=(2, 81, 3)).astype(np.float32)
  return Tokens(
    features=np.where(mask[..., None], features, np.nan),
    mask=mask,
    positions=rng.random((2, 81, 3)).astype(np.float32),
    size=np.ones((2, 81), np.float32),
    protected=np.broadcast_to(np.arange(81) < 1, (2, 81)),
  )


def changes(x):
  """By frame, the patches from the least like their reference to the most."""
  x = x[1:].reshape(8, 10, 3)
  x = x / np.linalg.norm(x, axis=-1, keepdims=True)
  pairs = {1: 0, 3: 2, 2: 0, 5: 4, 7: 6, 6: 4}
  return {t: np.argsort((x[t] * x[s]).sum(-1)) for t, s in pairs.items()}


def test_each_frame_keeps_what_changed_most(rng):
  """8 frames of 10 patches, of which 0.3 stay: 2 * 10 + 6 * 3 tokens."""
  tokens = make_tokens(rng)
  kept, aux = DyCoke(k=1 + 38, grid=GRID)(tokens)
  expected = [0, *range(1, 11), *range(41, 51)]
  for frame, order in changes(tokens.features[0]).items():
    expected += [1 + frame * 10 + int(i) for i in order[:3]]
  assert aux["indices"][0].tolist() == sorted(expected)
  np.testing.assert_array_equal(
    kept.features[0], tokens.features[0, sorted(expected)]
  )
  # The 3 tokens of the frame that is padding go to the 5 others.
  frame = (np.asarray(aux["indices"][1][1:]) - 1) // 10
  counts = np.bincount(frame, minlength=8)
  assert counts[[0, 4, 7]].tolist() == [10, 10, 0]
  assert sorted(counts[[1, 2, 3, 5, 6]]) == [3, 3, 4, 4, 4]
  assert kept.mask.all() and not aux["overflow"].any()


def test_what_does_not_divide_goes_to_the_largest_change(rng):
  tokens = make_tokens(rng)
  _, aux = DyCoke(k=1 + 39, grid=GRID)(tokens)
  _, even = DyCoke(k=1 + 38, grid=GRID)(tokens)
  (extra,) = set(aux["indices"][0].tolist()) - set(even["indices"][0].tolist())
  order = changes(tokens.features[0])
  assert extra in [1 + t * 10 + int(fourth[3]) for t, fourth in order.items()]


def test_a_whole_frame_must_fit():
  with pytest.raises(ValueError, match="the 20 patches .* got 19"):
    DyCoke(k=19, grid=GRID)


def test_frames_are_compared_as_in_a_tree():
  assert reference_frames(6, 4).tolist() == [0, 0, 0, 2, 4, 4]
  assert reference_frames(8, 8).tolist() == [0, 0, 0, 2, 0, 4, 4, 6]
