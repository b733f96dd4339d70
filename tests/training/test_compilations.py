"""Every program that is compiled is counted, once."""

import jax
import jax.numpy as jnp

from trajvit.training.compilations import compilations


def test_programs_are_counted_when_they_are_new():
  compilations()
  x, y = jnp.zeros(3), jnp.zeros(4)
  double = jax.jit(lambda x: 2 * x)
  before = compilations()
  double(x)
  assert compilations() == before + 1
  double(x)
  assert compilations() == before + 1
  double(y)
  assert compilations() == before + 2
