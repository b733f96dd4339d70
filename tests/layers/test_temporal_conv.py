import jax
import numpy as np
from flax import nnx
from tiny import drawn, on_host

from trajvit.layers.temporal_conv import TemporalConv


def test_equals_a_loop_over_frames_that_skips_masked_ones(rng):
  layer = drawn(lambda: TemporalConv(2, 4, rngs=nnx.Rngs(params=0)))
  kernel = np.asarray(layer.linear.kernel[...]).reshape(3, 2, 4)
  bias = np.asarray(layer.linear.bias[...])
  mask = np.array([[True, True, True, True], [True, False, True, False]])
  x = rng.normal(size=(2, 4, 3, 2)).astype(np.float32)
  x[~mask] = np.nan

  def run(x):
    y, back = jax.vjp(lambda x: layer(x, mask), x)
    return y, back(y)[0]

  found, grads = on_host(run)(x)
  for b, t, n in np.ndindex(2, 4, 3):
    expected = bias.copy()
    for k, s in enumerate((t - 1, t, t + 1)):
      if 0 <= s < 4 and mask[b, s]:
        expected += x[b, s, n] @ kernel[k]
    np.testing.assert_allclose(found[b, t, n], expected, rtol=1e-5, atol=1e-6)
  assert np.isfinite(grads).all() and not grads[~mask].any()
  assert grads[mask].all()
