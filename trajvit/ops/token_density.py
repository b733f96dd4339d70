"""What a token is worth, as VQToken counts it."""


def token_density(accuracy: float, tokens: float) -> float:
  """Returns the accuracy per token, TokDense.

  It ranks models of like accuracy by how few tokens they need. Between models
  of unlike accuracy the one with fewer tokens nearly always wins, so it stands
  beside the accuracy and never in its place. Source: VQToken, arXiv:2503.16980.

  Args:
    accuracy: in percent, [0, 100].
    tokens: the mean number of real tokens of a clip, more than 0.

  Raises:
    ValueError: a number is outside its range.
  """
  if not 0 <= accuracy <= 100:
    raise ValueError(f"accuracy must be in [0, 100] percent, got {accuracy}")
  if not tokens > 0:
    raise ValueError(f"tokens must be more than 0, got {tokens}")
  return accuracy / tokens
