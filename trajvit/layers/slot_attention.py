"""Slot attention: inputs are shared out among slots, a few rounds long."""

import jax
import jax.numpy as jnp
from flax import nnx

from trajvit.layers.linear import Linear
from trajvit.layers.mlp import Mlp
from trajvit.layers.norm import LayerNorm


class SlotAttention(nnx.Module):
  """Rounds in which slots compete for inputs and change by what they win.

  Source: Object-Centric Learning with Slot Attention, Locatello et al. 2020.
  The softmax of a round is over slots, so that each input is shared out; each
  slot takes the mean of its shares through a gated unit and a perceptron. The
  gradient goes through all rounds.

  Args:
    width: D of inputs and slots.
    mlp_ratio: hidden width of the perceptron, in widths.
    dtype: of the products; competition and slots are float32.
    rngs: holds the key of the initial values.
  """

  def __init__(
    self, width: int, *, mlp_ratio: int = 2, dtype=jnp.float32, rngs: nnx.Rngs
  ):
    options = dict(dtype=dtype, rngs=rngs)
    self.norm_inputs = LayerNorm(width, dtype=dtype)
    self.norm_slots = LayerNorm(width, dtype=dtype)
    self.norm_mlp = LayerNorm(width, dtype=dtype)
    self.key = Linear(width, width, bias=False, **options)
    self.value = Linear(width, width, bias=False, **options)
    self.query = Linear(width, width, bias=False, **options)
    self.update = GatedUpdate(width, **options)
    self.mlp = Mlp(width, mlp_ratio * width, activation="relu", **options)

  def __call__(
    self, slots: jax.Array, x: jax.Array, mask: jax.Array, rounds: int
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the slots after some rounds, and the last round's logits.

    Args:
      slots: [B, M, D].
      x: [B, P, D].
      mask: [B, P] bool, False = an input that gives nothing, and must be
        finite.
      rounds: at least 1.

    Returns:
      [B, M, D] float32 and [B, P, M] float32.
    """
    x = self.norm_inputs(x)
    keys, values = self.key(x), self.value(x)
    for _ in range(rounds):
      logits = slot_logits(keys, self.query(self.norm_slots(slots)))
      slots = self.update(slots, slot_means(logits, values, mask))
      slots = slots.astype(jnp.float32)
      slots += self.mlp(self.norm_mlp(slots))
    return slots, logits


class GatedUpdate(nnx.Module):
  """A gated recurrent unit: how much of a state its news replace.

  Source: arXiv:1406.1078, with the reset gate where PyTorch and cuDNN have it.

  Args:
    width: D.
    dtype: of the products.
    rngs: holds the key of the initial values.
  """

  def __init__(self, width: int, *, dtype=jnp.float32, rngs: nnx.Rngs):
    options = dict(dtype=dtype, rngs=rngs)
    self.news = Linear(width, 3 * width, **options)
    self.state = Linear(width, 3 * width, **options)

  def __call__(self, state: jax.Array, news: jax.Array) -> jax.Array:
    """Maps states [..., D] and what is new to them [..., D] to [..., D]."""
    new = jnp.split(self.news(news), 3, axis=-1)
    old = jnp.split(self.state(state), 3, axis=-1)
    reset = jax.nn.sigmoid(new[0] + old[0])
    keep = jax.nn.sigmoid(new[1] + old[1])
    candidate = jnp.tanh(new[2] + reset * old[2])
    return (1 - keep) * candidate + keep * state


def slot_logits(keys: jax.Array, queries: jax.Array) -> jax.Array:
  """Returns [B, P, M] float32, inputs [B, P, D] times slots [B, M, D]."""
  products = jnp.einsum(
    "bpd,bmd->bpm", keys, queries, preferred_element_type=jnp.float32
  )
  return products * keys.shape[-1] ** -0.5


def slot_means(
  logits: jax.Array, values: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns [B, M, D] float32, the mean of what each slot got.

  Args:
    logits: [B, P, M]; each input is shared out by a softmax over slots.
    values: [B, P, D].
    mask: [B, P] bool, False = an input that gives nothing. Without any, the
      means are zeros.
  """
  share = jnp.where(mask[..., None], jax.nn.softmax(logits, axis=-1), 0)
  share /= share.sum(1, keepdims=True) + 1e-8
  return jnp.einsum(
    "bpm,bpd->bmd", share, values, preferred_element_type=jnp.float32
  )
