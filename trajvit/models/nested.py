"""How many of a clip's nested tokens are read: drawn, asked for, or all."""

import jax
from flax import nnx

from trajvit.ops.nested import keep_probabilities, sample_keep
from trajvit.types import Tokens


def nested_probabilities(
  tokenizer: nnx.Module, nested: dict | None
) -> tuple[float, ...] | None:
  """Returns the probabilities that a config asks for, None if for none.

  Args:
    tokenizer: see `nested_tokens`.
    nested: of `ops.nested.keep_probabilities`, or None.

  Raises:
    ValueError: its tokens are not nested.
  """
  if nested is None:
    return None
  _check(tokenizer)
  return tuple(keep_probabilities(tokenizer.num_registers, **nested).tolist())


def nested_tokens(
  tokenizer: nnx.Module,
  tokens: Tokens,
  *,
  budget: jax.Array | None,
  probabilities: tuple[float, ...] | None,
  key: jax.Array | None,
) -> Tokens:
  """Returns the tokens of which the first of every clip are left.

  Args:
    tokenizer: what made them; it has `keep_first`, see `tokenizers.registers`.
    tokens: of a batch.
    budget: [B] int32, how many of a step, see Batch; None draws them in
      training, and keeps all at inference.
    probabilities: of `nested_probabilities`; None keeps all.
    key: given in training.

  Raises:
    ValueError: a budget for tokens that are not nested.
  """
  if budget is None and probabilities is None:
    return tokens
  _check(tokenizer)
  if budget is None:
    if key is None:
      return tokens
    budget = sample_keep(key, tokens.mask.shape[:1], probabilities)
  return tokenizer.keep_first(tokens, budget)


def _check(tokenizer):
  if not hasattr(tokenizer, "keep_first"):
    raise ValueError(
      "a budget is for nested tokens, of the tokenizer registers; "
      f"got {type(tokenizer).__name__}"
    )
