"""Policies: equal gradients, and only what they leave out computed again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.ad_checkpoint import checkpoint_name

from trajvit.layers.linear import Linear
from trajvit.layers.remat import POLICIES, known_remat
from trajvit.layers.stack import Stack


class Layer(nnx.Module):
  """A linear map, a product of tokens with each other, and a named sine."""

  def __init__(self, rngs):
    self.linear = Linear(4, 4, rngs=rngs)

  def __call__(self, x):
    x = self.linear(x)
    scores = jnp.exp(jnp.einsum("bnd,bmd->bnm", x, x) / 9)
    out = checkpoint_name(jnp.sin(scores @ x), "attention_out")
    return x + jnp.square(out), {}


def gradient(remat):
  graphdef, state = nnx.split(
    Stack(Layer, 5, remat=remat, rngs=nnx.Rngs(params=0))
  )

  def loss(state, x):
    return jnp.square(nnx.merge(graphdef, state)(x)[0]).mean()

  return jax.grad(loss), state


def test_a_policy_changes_no_gradient(rng):
  x = rng.normal(size=(2, 3, 4)).astype(np.float32)
  found = []
  for name in ("none", "dots_no_batch"):
    function, state = gradient(name)
    found.append(jax.tree.leaves(jax.jit(function)(state, x)))
  for a, b in zip(*found, strict=True):
    np.testing.assert_allclose(a, b, atol=1e-6)


# How often forward and backward pass of a layer do each of these.
COUNTS = {
  "none": dict(dot_general=9, exp=1, sin=1),
  "dots": dict(dot_general=9, exp=2, sin=2),
  "dots_no_batch": dict(dot_general=11, exp=2, sin=2),
  "attention": dict(dot_general=12, exp=2, sin=1),
  "full": dict(dot_general=12, exp=2, sin=2),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_is_kept_is_not_computed_again(name):
  function, state = gradient(name)
  text = str(jax.make_jaxpr(function)(state, jnp.ones((2, 3, 4))))
  counts = {each: text.count(f"= {each}") for each in COUNTS[name]}
  assert counts == COUNTS[name]


def test_names_are_checked_and_booleans_mean_all_or_nothing():
  assert [known_remat(x) for x in (True, False, "dots")] == [
    "full",
    "none",
    "dots",
  ]
  with pytest.raises(ValueError, match="one of none, dots, .*full, got 'all'"):
    known_remat("all")
