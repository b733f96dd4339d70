"""Nested dropout: how many of the first tokens of a clip are kept."""

import jax
import jax.numpy as jnp
import numpy as np

MODES = ("uniform", "pow2", "uniform_pow2", "halved", "zipf")


def keep_probabilities(
  count: int, mode: str = "uniform", *, exponent: float = 0.5, full: float = 0.0
) -> np.ndarray:
  """Returns [N] float64, the probability of keeping the first 1, 2, ... N.

  Source: nested dropout, arXiv:1402.0915; the modes are those of FlexTok,
  arXiv:2502.13967, and VideoFlexTok. No token at all is never drawn: that is
  what a decoder's null token is for.

  Args:
    count: N.
    mode: "uniform" over 1 to N; "pow2" over 1, 2, 4, ..., N; "uniform_pow2",
      uniform and then rounded up to a power of two; "halved" over N, N // 2,
      N // 4, ..., 1; "zipf", falling as a power of the number.
    exponent: of "zipf".
    full: share of clips that keep all, whatever the mode says of the others. An
      encoder that is read at N needs some, as "uniform" keeps all once in N.

  Raises:
    ValueError: an unknown mode, one of powers of two and a count that is none,
      or a share that is not in [0, 1].
  """
  if mode not in MODES:
    raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
  if "pow2" in mode and count & (count - 1):
    raise ValueError(
      f"mode {mode!r} needs a power of two of tokens, got {count}; "
      "'halved' takes any number"
    )
  if not 0 <= full <= 1:
    raise ValueError(f"full must be in [0, 1], got {full}")
  kept = np.arange(1, count + 1)
  if mode == "uniform":
    weights = np.ones(count)
  elif mode == "zipf":
    weights = kept**-exponent
  elif mode == "uniform_pow2":
    # As many numbers are rounded up to 2 n as there are in (n, 2 n].
    weights = np.where(kept & (kept - 1), 0, np.maximum(kept // 2, 1))
  else:
    halves = {count >> shift for shift in range(count.bit_length())}
    weights = np.isin(kept, list(halves))
  probabilities = (1 - full) * weights / weights.sum()
  probabilities[-1] += full
  return probabilities


def sample_keep(
  key: jax.Array, shape: tuple[int, ...], probabilities: np.ndarray
) -> jax.Array:
  """Returns numbers of tokens to keep, int32 in [1, N].

  Args:
    key: of the draw.
    shape: of the result, such as [B], or [B, steps] where every step of a clip
      keeps its own number.
    probabilities: of `keep_probabilities`.
  """
  edges = np.cumsum(probabilities)[:-1].astype(np.float32)
  u = jax.random.uniform(key, shape)
  return 1 + jnp.searchsorted(edges, u, side="right").astype(jnp.int32)


def keep_first(mask: jax.Array, keep: jax.Array | int) -> jax.Array:
  """Returns the mask of the first registers of every step of a clip.

  Args:
    mask: [B, S, N] bool, True = real, for S steps of N registers.
    keep: how many, [B] or [B, S] int32, or one number for all.
  """
  keep = jnp.asarray(keep)
  keep = keep.reshape(keep.shape + (1,) * (3 - keep.ndim))
  return mask & (jnp.arange(mask.shape[-1]) < keep)
