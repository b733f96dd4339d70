"""How many patches of a clip change, counted by the host as by the device."""

import numpy as np

from trajvit.pixels import ChangeRule
from trajvit.types import Clip


class ChangedPatches:
  """Counts the tokens that the tokenizer `run_length` keeps.

  Exactly as many as it does: this is the NumPy of `ops.levels.level_change`, in
  whole numbers throughout.

  Args:
    patch: (frames, side, side) of a tubelet.
    threshold: in units of the normalised frames.
    normalization: of the model, a name in NORMALIZATIONS.
    k: slots of the tokenizer, which never keeps more; None has enough.
  """

  def __init__(
    self,
    *,
    patch: tuple[int, int, int] = (2, 16, 16),
    threshold: float = 0.1,
    normalization: str = "symmetric",
    k: int | None = None,
  ):
    self.rule, self.k = ChangeRule(tuple(patch), threshold, normalization), k
    if k is not None and k < 1:
      raise ValueError(f"k must be at least 1, got {k}")

  def count(self, clip: Clip) -> np.ndarray:
    """Returns [B] int64, the tokens of each clip.

    Args:
      clip: in NumPy; `frames` [B, F, H, W, 3] uint8.

    Raises:
      ValueError: the patch does not divide the clip.
    """
    tubelet, side, _ = self.rule.patch
    batch, frames, height, width, channels = clip.frames.shape
    if frames % tubelet or height % side or width % side:
      raise ValueError(
        f"patch {self.rule.patch} must divide the clip (T, H, W) = "
        f"{(frames, height, width)}"
      )
    real, levels = np.ones((batch, frames), bool), clip.frames
    if clip.frame_mask is not None:
      real = clip.frame_mask
      levels = np.where(real[..., None, None, None], levels, 0)
    seen = real.reshape(batch, -1, tubelet).any(-1)  # [B, T]
    cells = (batch, height // side, side, width // side, side, channels)
    weights = np.array(self.rule.weights.channels)
    held = np.zeros_like(levels[:, 0])  # the first frame of the last tubelet
    some, kept = np.zeros(batch, bool), np.zeros(batch, np.int64)
    for t in range(frames // tubelet):
      first, last = levels[:, t * tubelet], levels[:, (t + 1) * tubelet - 1]
      difference = np.maximum(last, held) - np.minimum(last, held)
      sums = difference.reshape(cells).sum((2, 4), dtype=np.int64)
      changed = sums @ weights > self.rule.limit  # [B, h, w]
      changed |= ~some[:, None, None]
      kept += np.where(seen[:, t], changed.sum((1, 2)), 0)
      held = np.where(seen[:, t, None, None, None], first, held)
      some |= seen[:, t]
    return kept if self.k is None else np.minimum(kept, self.k)
