"""Loops and clips that the tests of segment-and-cluster reducers share."""

import jax
import numpy as np

from trajvit.types import Tokens

GRID, PREFIX, WIDTH = (5, 2, 3), 1, 4
FRAMES, PATCHES = 5, 6
COUNT = PREFIX + FRAMES * PATCHES


class Given:
  """A block that answers with the attention it was made of."""

  def __init__(self, received):
    self._received = received

  def received(self):
    return self._received


def make_clips(rng, noise=0.5):
  """A whole clip, and one with a padding frame and a hole, slowly changing.

  Returns:
    Tokens, with NaN where masked, and [2, N] float32 attention received.
  """
  start = rng.normal(size=(2, 1, PATCHES, WIDTH))
  steps = rng.normal(size=(2, FRAMES, PATCHES, WIDTH)) * noise
  steps[:, :, ::2] *= 0.1
  steps[:, 2] += rng.normal(size=(2, 1, WIDTH)) * 2
  patches = (start + np.cumsum(steps, 1)).reshape(2, -1, WIDTH)
  prefix = rng.normal(size=(2, PREFIX, WIDTH))
  mask = np.ones((2, COUNT), bool)
  mask[1, -PATCHES:] = mask[1, 4] = False
  features = np.concatenate([prefix, patches], 1).astype(np.float32)
  features[~mask] = np.nan
  tokens = Tokens(
    features=features,
    mask=mask,
    positions=rng.random((2, COUNT, 3)).astype(np.float32),
    size=np.where(np.arange(COUNT) < PREFIX, 0, mask).astype(np.float32),
    protected=np.broadcast_to(np.arange(COUNT) < PREFIX, mask.shape),
  )
  return tokens, rng.random((2, COUNT)).astype(np.float32)


def run(reducer, tokens, received=None):
  """The reducer compiled, and given attention where it asks for that."""

  @jax.jit
  def reduce(tokens, received):
    block = {"block": Given(received)} if reducer.needs_block else {}
    return reducer(tokens, **block)

  return reduce(tokens, received)


def clip_of(tokens, received, b):
  """A clip's features, mask and attention on the grid, in float64."""
  shape = (FRAMES, PATCHES)
  mask = tokens.mask[b, PREFIX:].reshape(shape)
  x = tokens.features[b, PREFIX:].reshape(*shape, WIDTH).astype(np.float64)
  return (
    np.where(mask[..., None], x, 0),
    mask,
    received[b, PREFIX:].reshape(shape),
  )


def assert_holds(reduced, tokens, b, expected):
  """Whether a clip is the prefix and what is expected at places.

  Args:
    expected: {(frame, patch): (feature, size)}.
  """
  real = np.asarray(reduced.mask[b])
  places = sorted(expected)
  slots = [PREFIX + t * PATCHES + p for t, p in places]
  assert real.tolist() == [i < PREFIX + len(slots) for i in range(len(real))]
  np.testing.assert_array_equal(
    reduced.features[b, :PREFIX], tokens.features[b, :PREFIX]
  )
  got = slice(PREFIX, PREFIX + len(slots))
  np.testing.assert_array_equal(
    reduced.positions[b, got], tokens.positions[b, slots]
  )
  np.testing.assert_allclose(
    reduced.features[b, got], [expected[x][0] for x in places], atol=1e-5
  )
  np.testing.assert_allclose(
    reduced.size[b, got], [expected[x][1] for x in places], atol=1e-5
  )


def peaks(x, count, neighbors=7):
  """Density peaks of points [n, D]: centres by score, and labels."""
  if not count or not len(x):
    return [], np.full(len(x), -1)
  points = np.arange(len(x))
  squared = np.square(x[:, None] - x).sum(-1) / x.shape[1]
  density = np.exp(-np.sort(squared, 1)[:, :neighbors].mean(1))
  score = []
  for i in points:
    denser = [
      j
      for j in points
      if density[j] > density[i] or (density[j] == density[i] and j < i)
    ]
    gap = np.sqrt(squared[i, denser].min() if denser else squared.max())
    score.append(density[i] * gap)
  centers = sorted(points, key=lambda i: (-score[i], i))[:count]
  labels = np.argmin(squared[:, centers], axis=1)
  labels[centers] = np.arange(len(centers))
  return centers, labels


def shares(counts, total):
  """One each, the larger groups first; the others by what is left."""
  counts = list(counts)
  order = sorted(range(len(counts)), key=lambda i: (-counts[i], i))
  one = [i for i in order if counts[i]][:total]
  share = [int(i in one) for i in range(len(counts))]
  rest = [n - s for n, s in zip(counts, share, strict=True)]
  total = min(total - len(one), sum(rest))
  if total:
    exact = [n * total / sum(rest) for n in rest]
    down = [n * total // sum(rest) for n in rest]
    order = sorted(range(len(rest)), key=lambda i: (down[i] - exact[i], i))
    for i in order[: total - sum(down)]:
      down[i] += 1
    share = [s + d for s, d in zip(share, down, strict=True)]
  return share


def cosine(x, y):
  return x @ y / max(np.linalg.norm(x) * np.linalg.norm(y), 1e-12)


def cut(frames, threshold, least):
  """Segments, lists of the given frames: {frame: feature}."""
  order = sorted(frames)
  pairs = list(zip(order[:-1], order[1:], strict=True))
  similar = {t: cosine(frames[s], frames[t]) for s, t in pairs}
  ranked = sorted(similar, key=lambda t: (similar[t], t))
  below = sum(s < threshold for s in similar.values())
  cuts = ranked[: max(below, least - 1)]
  segments = []
  for t in order:
    if not segments or t in cuts:
      segments.append([])
    segments[-1].append(t)
  return segments
