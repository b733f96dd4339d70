"""The default tracker: masks carried along the optical flow."""

import numpy as np

from trajvit.data.extract.flow import dense_flow, follow
from trajvit.data.extract.link import paint
from trajvit.data.extract.superpixels import appearance, superpixels

_SAME_APPEARANCE = 25.0  # between a pixel and where the flow says it went
_MAJORITY = 0.5  # of the pixels of a superpixel


def propagate(frames: np.ndarray, masks: np.ndarray) -> np.ndarray:
  """Follows masks from the first of a few frames to the others.

  Every pixel that looks the same where the flow takes it votes there for its
  mask. A superpixel joins the mask with most votes, if half of its pixels
  voted for it: so masks keep to edges in the image instead of smearing, and
  what comes into view belongs to none.

  Args:
    frames: [L, H, W, 3] uint8 RGB.
    masks: [n, H, W] bool, masks of frame 0. Where some overlap the smallest is
      followed.

  Returns:
    [L, n, H, W] bool, row 0 as given; no overlaps in the others.
  """
  pixels = appearance(frames)
  pieces, _ = superpixels(frames)
  owner = paint(masks)  # [H, W]
  tracked = [masks]
  for t, flow in enumerate(dense_flow(frames)):
    here = pieces[t + 1] - pieces[t + 1].min()
    inside, rows, columns = follow(flow)
    step = pixels[t][inside] - pixels[t + 1][rows, columns]
    same = np.einsum("pc,pc->p", step, step) < _SAME_APPEARANCE**2
    votes = np.zeros((here.max() + 1, len(masks) + 1), np.int64)
    voters = owner[inside][same]  # pixels of no mask vote for the last column
    np.add.at(votes, (here[rows, columns][same], voters), 1)
    winner = votes.argmax(axis=1)
    won = votes.max(axis=1) >= _MAJORITY * np.bincount(here.ravel())
    winner = np.where(won & (winner < len(masks)), winner, -1)
    owner = winner[here]
    tracked.append(owner == np.arange(len(masks))[:, None, None])
  return np.stack(tracked)
