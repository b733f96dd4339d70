"""What the layers of a config keep for the backward pass."""

from collections.abc import Iterator

from trajvit.layers.remat import known_remat


def policies(model: dict) -> set[str]:
  """Returns the remat policies that a model's spec names."""
  return {known_remat(part["remat"]) for part in _parts(model)}


def with_policy(model: dict, remat: str) -> dict:
  """Returns a model's spec with one policy wherever it names any."""
  changed = {
    key: with_policy(value, remat) if isinstance(value, dict) else value
    for key, value in model.items()
  }
  return changed | ({"remat": remat} if "remat" in model else {})


def _parts(model: dict) -> Iterator[dict]:
  if "remat" in model:
    yield model
  for value in model.values():
    if isinstance(value, dict):
      yield from _parts(value)
