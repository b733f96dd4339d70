import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trajvit.ops.windows import reduce_windows

pool = jax.jit(reduce_windows, static_argnums=(1, 2))


def slow(x, windows, reduce):
  """One window at a time, from the definition."""
  out = np.zeros((len(x), *windows, x.shape[-1]))
  for index in np.ndindex(*windows):
    cut = tuple(
      slice(int(np.floor(i * s / n)), int(np.ceil((i + 1) * s / n)))
      for i, n, s in zip(index, windows, x.shape[1:], strict=False)
    )
    axes = tuple(range(1, 1 + len(windows)))
    out[(slice(None), *index)] = reduce(x[(slice(None), *cut)], axis=axes)
  return out


@pytest.mark.parametrize("windows", [(1, 1, 1), (2, 2, 3), (3, 4, 6)])
@pytest.mark.parametrize("name", ["max", "sum"])
def test_equals_a_loop_over_windows(rng, windows, name):
  x = rng.normal(size=(2, 3, 5, 6, 4)).astype(np.float32)
  got = pool(x, windows, getattr(jnp, name))
  np.testing.assert_allclose(got, slow(x, windows, getattr(np, name)), 1e-5)


def test_windows_must_fit_the_grid():
  with pytest.raises(ValueError, match=r"grid \(2, 3\), got \(2, 4\)"):
    reduce_windows(jnp.zeros((1, 2, 3, 1)), (2, 4), jnp.sum)
