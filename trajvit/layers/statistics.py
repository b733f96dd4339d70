"""Running statistics on their way from a layer to the training step."""


def nested(name, aux: dict) -> dict:
  """Returns `aux` with its `batch_stats`, if any, one level further down.

  Every module does so with what its parts return, so that in the end the new
  statistics have the paths of the variables they replace.

  Args:
    name: of the attribute, or the index in a list, that `aux` came from.
    aux: of that part.
  """
  if "batch_stats" not in aux:
    return aux
  return aux | {"batch_stats": {name: aux["batch_stats"]}}
