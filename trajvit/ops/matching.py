"""Matching the slots of a segmentation with the tracks of a label map."""

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.ops.assignment import linear_assignment

# Pixels whose one-hot labels and predictions exist at a time, on a TPU.
CHUNK = 8192


def resize_labels(labels: jax.Array, grid: tuple[int, int]) -> jax.Array:
  """Returns a label map on another grid, each cell by its top left corner.

  Cell i of n shows cell floor(i N / n) of N, in both directions: label maps
  shrink as everywhere here, and grow by repetition.

  Args:
    labels: [B, T, H, W] of any dtype.
    grid: (h, w), of the same aspect ratio.

  Returns:
    [B, T, h, w] of the same dtype.

  Raises:
    ValueError: the aspect ratio is another one.
  """
  height, width = labels.shape[2:]
  if height * grid[1] != width * grid[0]:
    raise ValueError(
      f"a label map of {height} x {width} cells cannot be shown on a grid of "
      f"another shape, {grid[0]} x {grid[1]}"
    )
  y = np.arange(grid[0]) * height // grid[0]
  x = np.arange(grid[1]) * width // grid[1]
  return labels[:, :, y[:, None], x]


def number_labels(
  labels: jax.Array, num_slots: int
) -> tuple[jax.Array, jax.Array]:
  """Returns labels numbered 0, 1, ... by their first cell in raster order.

  Ids may be any integers: nothing is as long as the largest of them. It takes
  one pass over the map for each id of the clip that has the most.

  Args:
    labels: [B, ...] integers, negative = none. The axes after the first are in
      raster order, (t, y, x).
    num_slots: M; the labels that come after the first M become -1.

  Returns:
    labels of the same shape, int32 in [0, M) or -1, and [B] int32 how many
    different labels each clip had, those that became -1 among them.
  """
  flat = labels.reshape(labels.shape[0], -1)

  def next_label(left):
    """[B, 1], the label of the first cell that is left, negative if none is."""
    first = jnp.argmax(left >= 0, axis=1, keepdims=True)
    return jnp.take_along_axis(left, first, axis=1)

  def number(state):
    label, left, numbered, count = state
    same = (left == label) & (label >= 0)
    new = jnp.where(count < num_slots, count, -1)
    numbered = jnp.where(same, new[:, None], numbered)
    left = jnp.where(same, -1, left)
    return next_label(left), left, numbered, count + (label[:, 0] >= 0)

  start = (
    next_label(flat),
    flat,
    jnp.full(flat.shape, -1, jnp.int32),
    jnp.zeros(flat.shape[0], jnp.int32),
  )
  end = jax.lax.while_loop(lambda state: (state[0] >= 0).any(), number, start)
  return end[2].reshape(labels.shape), end[3]


def overlap_counts(
  labels: jax.Array, prediction: jax.Array, num_slots: int
) -> jax.Array:
  """Returns how many pixels have a label and a prediction, for every pair.

  A TPU multiplies one-hot chunks, since it adds at computed places slowly; all
  others add. (On two CPU cores, 8 x 224 x 224 pixels and 128 slots: 0.6 ms
  against 190 ms.) Nothing has the size of pixels times M^2, or on any device
  but a TPU of pixels times M.

  Args:
    labels: [B, ...] int32 in [0, M), or -1 = unlabelled.
    prediction: same shape, int32 in [0, M), or -1 = does not count.
    num_slots: M.

  Returns:
    [B, M + 1, M] float32 whole numbers, labels by predictions; the last row is
    of the unlabelled pixels.
  """
  batch = labels.shape[0]
  rows = jnp.where(labels < 0, num_slots, labels).reshape(batch, -1)
  columns = prediction.reshape(batch, -1)
  return jax.lax.platform_dependent(
    rows,
    columns,
    tpu=lambda *pair: _count_by_products(*pair, num_slots),
    default=lambda *pair: _count_by_adding(*pair, num_slots),
  )


def _count_by_adding(rows, columns, num_slots):
  """[B, P] twice to [B, M + 1, M]."""
  bins = (num_slots + 1) * num_slots
  where = jnp.where(columns < 0, bins, rows * num_slots + columns)

  def count(where):
    return jnp.zeros(bins, jnp.int32).at[where].add(1, mode="drop")

  counts = jax.vmap(count)(where).astype(jnp.float32)
  return counts.reshape(-1, num_slots + 1, num_slots)


def _count_by_products(rows, columns, num_slots):
  """[B, P] twice to [B, M + 1, M]; -1 is a row of zeros."""
  batch, pixels = rows.shape
  size = min(CHUNK, pixels)
  chunks = -(-pixels // size)

  def split(x):
    spare = ((0, 0), (0, chunks * size - pixels))
    x = jnp.pad(x, spare, constant_values=-1)
    return x.reshape(batch, chunks, size).swapaxes(0, 1)

  def add(counts, chunk):
    # Zeros and ones are exact in bfloat16, and sums of them in float32.
    row = jax.nn.one_hot(chunk[0], num_slots + 1, dtype=jnp.bfloat16)
    column = jax.nn.one_hot(chunk[1], num_slots, dtype=jnp.bfloat16)
    more = jnp.einsum(
      "bpg,bpm->bgm", row, column, preferred_element_type=jnp.float32
    )
    return counts + more, None

  start = jnp.zeros((batch, num_slots + 1, num_slots), jnp.float32)
  return jax.lax.scan(add, start, (split(rows), split(columns)))[0]


def soft_overlaps(
  labels: jax.Array, logits: jax.Array, real: jax.Array
) -> jax.Array:
  """Returns how much of each slot lies on each label, by the softmax.

  `overlap_counts` of a prediction that is not yet sure: a slot that has lost
  every pixel to others still tells how near it was.

  Args:
    labels: [B, T, h, w] int32 in [0, M), or -1 = unlabelled.
    logits: [B, T, h, w, M] of any float dtype.
    real: [B, T, h, w] bool, False = a pixel that does not count.

  Returns:
    [B, M + 1, M] float32, labels by slots; the last row is of the unlabelled
    pixels.
  """
  num_slots = logits.shape[-1]

  def add(overlaps, frame):
    label, logit, counts = frame
    p = jax.nn.softmax(logit.astype(jnp.float32), axis=-1)
    p = jnp.where(counts[..., None], p, 0)
    own = jax.nn.one_hot(jnp.where(label < 0, num_slots, label), num_slots + 1)
    return overlaps + jnp.einsum("bhwg,bhwm->bgm", own, p), None

  start = jnp.zeros((labels.shape[0], num_slots + 1, num_slots), jnp.float32)
  frames = [jnp.moveaxis(x, 1, 0) for x in (labels, logits, real)]
  return jax.lax.scan(add, start, frames)[0]


def match_slots(
  counts: jax.Array, *, count_unlabelled: bool = False
) -> tuple[jax.Array, jax.Array]:
  """Returns the slot of each label, for the largest sum of IoUs.

  Source: the Hungarian matching of TrajTok (arXiv:2602.22779), where an
  intersection over union counts the pixels that a slot holds outside of all
  labels; here it does so by option.

  Args:
    counts: [B, M + 1, M] as from `overlap_counts` or `soft_overlaps`.
    count_unlabelled: whether a slot's unlabelled pixels are in its union.

  Returns:
    slots [B, M] int32, a permutation, and the IoU [B, M] float32 of each label
    with its slot. A label without a pixel has an IoU of 0 and takes one of the
    slots that are left.
  """
  overlap = counts[:, :-1]  # [B, M, M]
  predicted = (counts if count_unlabelled else overlap).sum(1)  # [B, M]
  area = overlap.sum(2)  # [B, M]
  union = area[:, :, None] + predicted[:, None] - overlap
  iou = overlap / jnp.maximum(union, 1e-6)
  slots = linear_assignment(-iou)
  return slots, jnp.take_along_axis(iou, slots[:, :, None], axis=2)[:, :, 0]
