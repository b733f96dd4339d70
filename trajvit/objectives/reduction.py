"""What reducers want to be trained on beside the task."""

import jax

from trajvit.types import Batch


def reduction(outputs: dict, batch: Batch) -> tuple[jax.Array, dict]:
  """The sum of the losses of all reducers, such as that of a learned score.

  Args:
    outputs: `aux.encoder.reducers`, a list of dicts; those of reducers that
      learn by a loss of their own have `losses` {name: scalar}.
    batch: unused.

  Returns:
    The loss [], and {"<number of the reducer>/<name>": each of them}.

  Raises:
    ValueError: no reducer has a loss.
  """
  del batch
  reducers = outputs["aux"]["encoder"].get("reducers", [])
  losses = {
    f"{number}/{name}": loss
    for number, aux in enumerate(reducers)
    for name, loss in aux.get("losses", {}).items()
  }
  if not losses:
    raise ValueError("reduction needs a reducer with losses, got none")
  return sum(losses.values()), losses
