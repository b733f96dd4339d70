"""A memory written step by step, against loops over the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from trajvit.layers.token_turing import EraseAndAdd, TokenTuring

WIDTH, MEMORY, READ = 4, 3, 2


def make(write):
  return TokenTuring(
    WIDTH,
    num_heads=2,
    memory=MEMORY,
    read=READ,
    depth=1,
    mlp_dim=8,
    write=write,
    rngs=nnx.Rngs(params=0),
  )


@jax.jit
def slow(turing, x, mask, positions):
  """One clip, all frames of which are real, by a loop over them."""
  memory, outputs = jnp.zeros((MEMORY, WIDTH)), []
  place = jnp.zeros((MEMORY, 4))
  slots, (of_frame, of_output) = turing.slots[...], turing.kinds[...]
  for frame, real, at in zip(x, mask, positions, strict=True):
    at = jnp.concatenate([at, real[:, None]], 1)
    both = jnp.concatenate([memory, frame])
    keys = jnp.concatenate([memory + slots, frame + of_frame])
    real = jnp.concatenate([jnp.ones(MEMORY, bool), real])
    places = jnp.concatenate([place, at])
    maps = turing.read(keys, real)
    out = turing.blocks((maps @ both)[None])[0][0]
    outputs.append(out)
    both, places = (
      jnp.concatenate(pair) for pair in ((both, out), (places, maps @ places))
    )
    keys = jnp.concatenate([keys, out + of_output])
    maps = turing.write(keys, jnp.concatenate([real, jnp.ones(READ, bool)]))
    memory, place = maps @ both, maps @ places
  return jnp.stack(outputs), memory, place[:, :3] / place[:, 3:]


def test_a_scan_equals_a_loop_and_padding_is_no_step(rng):
  turing = make("summary")
  x = rng.normal(size=(2, 3, 5, WIDTH)).astype(np.float32)
  positions = rng.random((2, 3, 5, 3)).astype(np.float32)
  mask = np.ones((2, 3, 5), bool)
  mask[0, 0, 2] = mask[1, 1] = False
  x, positions = (np.where(mask[..., None], a, 0) for a in (x, positions))
  outputs, memory, at = jax.jit(lambda turing, *a: turing(*a))(
    turing, x, mask, positions
  )
  for b, frames in enumerate([[0, 1, 2], [0, 2]]):
    expected = slow(turing, *(a[b, frames] for a in (x, mask, positions)))
    got = outputs[b, np.array(frames)], memory[b], at[b]
    for a, e in zip(got, expected, strict=True):
      np.testing.assert_allclose(a, e, atol=1e-5)
  assert not np.any(outputs[1, 1])


def test_erase_and_add_is_that_of_a_turing_machine(rng):
  write = EraseAndAdd(WIDTH, MEMORY, dtype=jnp.float32, rngs=nnx.Rngs(params=0))
  out = rng.normal(size=(1, READ, WIDTH)).astype(np.float32)
  memory = rng.normal(size=(1, MEMORY, WIDTH)).astype(np.float32)
  nowhere = np.zeros((1, READ, 4)), np.zeros((1, MEMORY, 4))
  new, _ = write(out, nowhere[0], memory, nowhere[1])
  heads = write.norm(out)[0]
  expected = memory[0]
  weights = jax.nn.softmax(write.address(heads), axis=-1)
  for weight, head in zip(weights, heads, strict=True):
    expected = expected * (
      1 - np.outer(weight, jax.nn.sigmoid(write.erase(head)))
    )
  for weight, head in zip(weights, heads, strict=True):
    expected = expected + np.outer(weight, write.add(head))
  np.testing.assert_allclose(new[0], expected, atol=1e-5)


def test_an_unknown_write_is_refused():
  with pytest.raises(ValueError, match="write must be one of .* got 'add'"):
    make("add")
