"""How the released weights of TiTok mix registers and channels."""

import jax


def legacy_reshape(x: jax.Array) -> jax.Array:
  """Returns [B, N, D] in which registers and channels are mixed up.

    y[n, d] = x.flat[d N + n]

  With D = r N that is x[d // r, N (d % r) + n]: token n has the channels n,
  n + N, n + 2 N, ... of every register, and is none of them. TiTok's code
  (arXiv:2406.07550) reads [N, D] as if it were [D, N], without a transpose; so
  were its first weights trained, and all of One-D-Piece's (arXiv:2501.10064).

  Args:
    x: [B, N, D], all registers; of fewer it would be another function.
  """
  batch, count, width = x.shape
  return x.reshape(batch, width, count).swapaxes(1, 2)
