import jax
import numpy as np

from trajvit.ops.segments import segments_from_starts
from trajvit.ops.token_trees import nearest_before, strongest_links, sum_trees

FRAMES, PATCHES, WIDTH = 6, 4, 3


def make_trees(rng):
  """Frame 2 is padding, frame 4 starts a segment, a token is masked."""
  real = np.asarray([[1, 1, 0, 1, 1, 1]], bool)
  mask = np.repeat(real[..., None], PATCHES, axis=-1)
  mask[0, 1, 2] = False
  starts = np.asarray([[0, 0, 0, 0, 1, 0]], bool)
  segments = segments_from_starts(starts, real, FRAMES)
  x = rng.normal(size=(1, FRAMES, PATCHES, WIDTH)).astype(np.float32)
  return np.where(mask[..., None], x, np.nan), mask, segments


def test_links_and_trees_equal_a_loop(rng):
  x, mask, segments = make_trees(rng)
  clean = np.where(mask[..., None], x, 0)

  @jax.jit
  def run(x, clean):
    similarity, parent = nearest_before(x, mask, segments)
    linked = strongest_links(
      similarity, similarity > -0.5, segments, np.full((1, FRAMES), 5)
    )
    real = segments.ids >= 0
    return similarity, parent, linked, sum_trees(clean, parent, linked, real)

  similarity, parent, linked, sums = (np.asarray(y)[0] for y in run(x, clean))
  clean, mask = clean[0], mask[0]
  unit = clean / np.maximum(np.linalg.norm(clean, axis=-1, keepdims=True), 1e-9)
  links = {0: [], 1: []}
  for t, before, segment in ((1, 0, 0), (3, 1, 0), (5, 4, 1)):
    for p in np.flatnonzero(mask[t]):
      cosine = np.where(mask[before], unit[before] @ unit[t, p], -2)
      np.testing.assert_allclose(similarity[t, p], cosine.max(), atol=1e-5)
      assert parent[t, p] == np.argmax(cosine)
      if cosine.max() > -0.5:
        to = before, int(np.argmax(cosine))
        links[segment].append((-cosine.max(), (t, int(p)), to))
  assert not np.isfinite(similarity[[0, 2, 4]]).any()
  assert len(links[0]) > 5  # more than there may be
  chosen = {
    at: to for found in links.values() for _, at, to in sorted(found)[:5]
  }
  assert {(int(t), int(p)) for t, p in np.argwhere(linked)} == set(chosen)
  expected = np.zeros_like(clean)
  for t, p in np.argwhere(mask):
    root = int(t), int(p)
    while root in chosen:
      root = chosen[root]
    expected[root] += clean[t, p]
  np.testing.assert_allclose(sums, expected, atol=1e-5)
