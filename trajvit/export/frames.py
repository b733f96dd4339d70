"""How many frames the arrays of an encoder may have.

The preprocessing tells it: `frames` is what a file is sampled to, and
`any_frames` says which others an array may have: {"multiple_of": p}, or
{"refused": why} if there are none.
"""


def takes_frames(count: int, preprocessing: dict) -> bool:
  """Returns whether arrays may have so many frames."""
  step = preprocessing["any_frames"].get("multiple_of")
  if step is None:
    return count == preprocessing["frames"]
  return count > 0 and count % step == 0


def expected_frames(preprocessing: dict) -> tuple[str, str]:
  """Returns T as a message writes it in a shape, and what it ends with."""
  rule = preprocessing["any_frames"]
  if "refused" in rule:
    note = f"; no other number of frames: {rule['refused']}"
    return str(preprocessing["frames"]), note
  step = rule["multiple_of"]
  return "T", "" if step == 1 else f"; T must be a multiple of {step}"


def with_frames(preprocessing: dict, count: int) -> dict:
  """Returns the preprocessing of files from which so many frames are taken.

  Raises:
    ValueError: arrays may not have so many.
  """
  if not takes_frames(count, preprocessing):
    frames, note = expected_frames(preprocessing)
    raise ValueError(f"frames must be {frames}, got {count}{note}")
  return preprocessing | {"frames": count}


def with_fixed_frames(preprocessing: dict, reason: str) -> dict:
  """Returns the preprocessing of programs that take one number of frames."""
  return preprocessing | {"any_frames": {"refused": reason}}


def symbolic_frames(preprocessing: dict) -> int | str:
  """Returns the number of frames as `Program.inputs` has it, as "2*t"."""
  step = preprocessing["any_frames"].get("multiple_of")
  if step is None:
    return preprocessing["frames"]
  return "t" if step == 1 else f"{step}*t"
