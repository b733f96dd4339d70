"""What a layer keeps for the backward pass, and what is computed once more."""

from collections.abc import Callable

import jax

_POLICIES = jax.checkpoint_policies
# name: what is kept, as a policy of JAX; its input a layer keeps always.
POLICIES = {
  # All: no memory is saved.
  "none": _POLICIES.everything_saveable,
  # The results of all products of matrices, attention weights among them.
  "dots": _POLICIES.checkpoint_dots,
  # Those of the linear maps, which grow with the tokens and not their square.
  "dots_no_batch": _POLICIES.checkpoint_dots_with_no_batch_dims,
  # What the kernels of attention return: they do not run once more.
  "attention": _POLICIES.save_only_these_names(
    "attention_out", "attention_logsumexp"
  ),
  # Nothing: the least memory, and a third more products.
  "full": _POLICIES.nothing_saveable,
}


def known_remat(remat: str | bool) -> str:
  """Returns a name in POLICIES; True is "full" and False is "none".

  Raises:
    ValueError: another name.
  """
  if isinstance(remat, bool):
    return "full" if remat else "none"
  if remat not in POLICIES:
    raise ValueError(
      f"remat must be one of {', '.join(POLICIES)}, got {remat!r}"
    )
  return remat


def recomputed(layer: Callable, remat: str) -> Callable:
  """Returns the body of a scan over layers, with a policy.

  Args:
    layer: `layer(carry, parameters) -> (carry, aux)`.
    remat: a name in POLICIES.
  """
  if remat == "none":
    return layer
  # Inside a scan the compiler cannot undo the recomputation, so the guard
  # against that, which costs memory, is not needed.
  return jax.checkpoint(layer, prevent_cse=False, policy=POLICIES[remat])
