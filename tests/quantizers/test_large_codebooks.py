"""What codes by rule has no array of tokens times codes."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from trajvit.quantizers import QUANTIZERS

TOKENS = 64


@pytest.mark.parametrize(
  "name, dim, size",
  [("fsq", 6, 64000), ("lfq", 18, 2**18), ("bsq", 36, 2**18)],
)
def test_no_array_is_larger_than_the_codebook(name, dim, size):
  quantizer = QUANTIZERS.build({"name": name}, dim=dim)
  assert set(quantizer.sizes) == {size}
  mask = jnp.ones(TOKENS, bool)

  def loss(z):
    codes, aux = quantizer(z, mask, key=jax.random.key(0))
    return codes.sum() + sum(aux["losses"].values(), 0.0), aux

  program = jax.make_jaxpr(jax.grad(loss, has_aux=True))
  text = str(program(jnp.zeros((TOKENS, dim))))
  shapes = re.findall(r"\b[a-z]+\d+\[([\d,]+)\]", text)
  assert max(math.prod(map(int, s.split(","))) for s in shapes) == size
