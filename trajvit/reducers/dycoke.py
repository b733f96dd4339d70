"""One frame of every few whole, and of the others what changed most."""

import jax.numpy as jnp
import numpy as np

from trajvit.layers.reducer import Reducer
from trajvit.ops.selection import select
from trajvit.ops.token_grid import off_grid, on_grid
from trajvit.ops.unit import unit
from trajvit.types import Tokens


class DyCoke(Reducer):
  """Keeps the first frame of every window, and changes in the frames after it.

  A patch of another frame is compared with the patch at its place in an earlier
  one of the window: frames 1 and 2 with frame 0, frame 3 with frame 2, and so
  on, number i with i less its lowest bit. Every frame keeps as many patches,
  those of the least cosine. Source: the temporal merging of DyCoke,
  arXiv:2411.15024, behind the encoder, which merges nothing. It keeps (1 - 0.7)
  of the n patches of a frame: k = P + (w + 0.3 (T - w)) n with w windows. In
  the released code the last window is pruned less, odd frames are lost, and
  what is kept leaves its order; here it does not.

  Args:
    k: tokens kept, protected ones and whole frames among them. What does not
      divide by the frames goes to the patches that changed most.
    grid: (T, h, w).
    window: frames in a window; the last one may have fewer.

  Raises:
    ValueError: k does not hold the whole frames, or a window has no frame.
  """

  def __init__(self, *, k: int, grid: tuple[int, int, int], window: int = 4):
    if window < 1:
      raise ValueError(f"window must be at least 1, got {window}")
    frames, height, width = grid
    windows = -(-frames // window)
    whole = windows * height * width
    if k < whole:
      raise ValueError(
        f"k must hold the {whole} patches of the first frames of {windows} "
        f"windows of {window} frames, got {k}: a larger window has fewer"
      )
    self.k, self.grid, self.window = k, tuple(grid), window

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the kept tokens in raster order.

    A clip with fewer than k real tokens keeps them all; where frames are
    padding, their share goes to the others.

    Args:
      tokens: P + T h w slots a clip, the last of which are the patches.
      key: unused, the choice is fixed.

    Returns:
      k tokens. Aux: `indices` [B, k] int32, the slots kept, and `overflow` [B]
      int32, tokens of whole frames that found no slot beside the P others.

    Raises:
      ValueError: k is not in [1, N]; what `on_grid` raises.
    """
    del key
    found = on_grid(tokens, self.grid)
    reference = reference_frames(self.grid[0], self.window)
    x = unit(found.features)
    cosine = (x * x[:, reference]).sum(-1)  # [B, T, n]
    comparable = found.mask & found.mask[:, reference]
    change = jnp.where(comparable, -cosine, jnp.inf)
    # 0 for what changed most in its frame; masked patches come last.
    order = jnp.argsort(jnp.where(found.mask, -change, jnp.inf), axis=-1)
    rank = jnp.argsort(order, axis=-1)
    whole = reference == np.arange(self.grid[0])
    whole = jnp.broadcast_to(whole[:, None], found.mask.shape)
    must = off_grid(whole, found.prefix, fill=True)
    keys = (must, *(off_grid(x, found.prefix) for x in (-rank, change)))
    kept, indices = select(tokens, keys, self.k)
    count = (must & tokens.mask).sum(1, dtype=jnp.int32)
    overflow = jnp.maximum(count - self.k, 0)
    return kept, {"indices": indices, "overflow": overflow}


def reference_frames(frames: int, window: int) -> np.ndarray:
  """Returns [T] int, the frame each one is compared with.

  That is itself for the first one of a window.
  """
  frame = np.arange(frames)
  place = frame % window
  return frame - place + (place & (place - 1))
