"""Top-k that learns: the mean of choices under noise, with a gradient."""

import jax
import jax.numpy as jnp

from trajvit.ops.selection import highest

# Samples drawn at a time: what is in memory grows with this, not with all.
CHUNK = 20


def top_k_indicator(
  score: jax.Array, k: int, *, mask: jax.Array | None = None
) -> jax.Array:
  """Returns [B, k, N] float32: row i is 1 at the i-th slot that is chosen.

  The slots are those of `ops.selection.highest`, in their old order, masked
  ones behind. No gradient passes.

  Args:
    score: [B, N] float.
    k: how many, in [1, N].
    mask: [B, N] bool, or None.

  Raises:
    ValueError: k is out of range.
  """
  mask = jnp.ones(score.shape, bool) if mask is None else mask
  return jax.nn.one_hot(highest(score, k, mask=mask), score.shape[1])


def perturbed_top_k(
  score: jax.Array,
  k: int,
  *,
  key: jax.Array,
  sigma: float = 0.05,
  samples: int = 500,
  mask: jax.Array | None = None,
) -> jax.Array:
  """Returns the mean of top-k indicators of scores under Gaussian noise.

  Y = E[top_k(s + sigma z)], of which the gradient is, by Stein's identity,
  dY_id / ds_d = E[Y_id(z) z_d] / sigma. Source: differentiable patch selection,
  arXiv:2104.03059, as STTS (arXiv:2111.11591) uses it: what a score does to
  other slots than its own is left out, which is biased and varies less.

  Args:
    score: [B, N] float.
    k: how many, in [1, N].
    key: of the noise.
    sigma: of the noise, positive; where it is small beside the differences of
      scores, the indicator is that of `top_k_indicator`.
    samples: how often noise is drawn, for all clips; a multiple of 20 or less
      than that.
    mask: [B, N] bool, or None; masked slots get no noise and no gradient, and
      are chosen last.

  Returns:
    [B, k, N] float32, every row a distribution over slots.

  Raises:
    ValueError: k is out of range, sigma is not positive, or samples do not
      divide.
  """
  if sigma <= 0:
    raise ValueError(f"sigma must be positive, got {sigma}")
  chunk = min(CHUNK, samples)
  if samples < 1 or samples % chunk:
    raise ValueError(
      f"samples must be a multiple of {CHUNK}, or in [1, {CHUNK}], got "
      f"{samples}"
    )
  batch, count = score.shape
  mask = jnp.ones(score.shape, bool) if mask is None else mask
  score = jnp.where(mask, score, 0).astype(jnp.float32)
  fixed = jax.lax.stop_gradient(score)
  real = jnp.repeat(mask, chunk, axis=0)

  def draw(sums, key):
    noise = jax.random.normal(key, (batch, chunk, count))
    noise = jnp.where(mask[:, None], noise, 0)
    noisy = (fixed[:, None] + sigma * noise).reshape(-1, count)
    chosen = top_k_indicator(noisy, k, mask=real)
    chosen = chosen.reshape(batch, chunk, k, count)
    times_noise = chosen * noise[:, :, None]
    return (sums[0] + chosen.sum(1), sums[1] + times_noise.sum(1)), None

  zeros = jnp.zeros((batch, k, count))
  keys = jax.random.split(key, samples // chunk)
  (chosen, times_noise), _ = jax.lax.scan(draw, (zeros, zeros), keys)
  slope = times_noise / (samples * sigma)
  # The second summand is 0: it is there for its gradient.
  return chosen / samples + slope * (score - fixed)[:, None]
