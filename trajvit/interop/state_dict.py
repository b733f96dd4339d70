"""State dicts: named arrays in .safetensors, .npz and PyTorch files, and back.

No file is trusted: nothing in it is run, and what it tells of its sizes is
checked against its own before room is made for it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from trajvit.export import safetensors as safetensors_reader
from trajvit.interop.npz import read_npz, write_npz
from trajvit.interop.torch_pickle import Tensor
from trajvit.interop.torch_zip import read_torch, write_torch

PYTORCH = (".pth", ".pt", ".bin", ".ckpt")
SAFETENSORS, NPZ = ".safetensors", ".npz"
ENDINGS = (*PYTORCH, SAFETENSORS, NPZ)


def read_state_dict(
  path: str | Path, *, part: str | None = None, strip: str = ""
) -> dict[str, np.ndarray]:
  """Returns the arrays of a file by name; see `state_dict_of`.

  Args:
    path: a .safetensors or .npz file, or a .pth, .pt, .bin or .ckpt file that
      `torch.save` of PyTorch 1.6 or newer wrote.
    part: where in a .pth file the weights are, such as "model" or
      "optimizer.state"; None = they are the whole file.
    strip: what every name begins with, to be left out, such as "module.".

  Returns:
    Read-only arrays, of float16, bfloat16, float32, float64, integers or bool.

  Raises:
    ValueError: another kind of file, one that is damaged or holds more than
      weights, no such part, or a name that does not begin so; the message
      names the file.
    FileNotFoundError: no such file.
  """
  path = Path(path)
  _check_ending(path)
  if path.suffix in PYTORCH:
    arrays = _read_pytorch(path, part)
  elif part is not None:
    raise ValueError(f"{path}: a {path.suffix} file has no parts, got {part!r}")
  elif path.suffix == NPZ:
    arrays = read_npz(path)
  else:
    arrays = safetensors_reader.read(path)
  return strip_prefix(arrays, strip, source=str(path))


def write_state_dict(
  path: str | Path, arrays: Mapping[str, np.ndarray]
) -> None:
  """Writes arrays by name, in the format of the file's ending.

  Args:
    path: ends in .safetensors, in .npz, or in .pth, .pt, .bin or .ckpt, which
      `torch.load(path, weights_only=True)` reads.
    arrays: by name.

  Raises:
    ValueError: another ending, or a dtype that the format does not have.
  """
  path = Path(path)
  _check_ending(path)
  if path.suffix == SAFETENSORS:
    whole = {name: np.asarray(x, order="C") for name, x in arrays.items()}
    path.write_bytes(safetensors.numpy.save(whole))
  elif path.suffix == NPZ:
    write_npz(path, arrays)
  else:
    write_torch(path, arrays)


def strip_prefix(
  arrays: Mapping[str, np.ndarray], prefix: str, *, source: str = "state dict"
) -> dict[str, np.ndarray]:
  """Returns the arrays under their names without what all of them begin with.

  Raises:
    ValueError: a name that does not begin so.
  """
  without = [name for name in arrays if not name.startswith(prefix)]
  if without:
    raise ValueError(
      f"{source}: {len(without)} of {len(arrays)} names do not begin with "
      f"{prefix!r}: {', '.join(without[:3])}"
    )
  return {name.removeprefix(prefix): x for name, x in arrays.items()}


def _check_ending(path):
  if path.suffix not in ENDINGS:
    raise ValueError(
      f"{path}: expected a file that ends in {', '.join(ENDINGS)}"
    )


def _read_pytorch(path, part):
  value, archive = read_torch(path)
  for key in part.split(".") if part else ():
    if not isinstance(value, dict) or key not in value:
      raise ValueError(f"{path}: no part {part!r}; {_contents(value)}")
    value = value[key]
  if not isinstance(value, dict) or not value:
    raise ValueError(f"{path}: expected arrays by name; {_contents(value)}")
  others = [key for key, x in value.items() if not isinstance(x, Tensor)]
  if others or not all(isinstance(key, str) for key in value):
    raise ValueError(
      f"{path}: expected arrays by name alone, in the file or in the part of "
      f"it that is named; {_contents(value)}"
    )
  return {key: archive.array(x, key) for key, x in value.items()}


def _contents(value):
  """What there is instead, for people."""
  if not isinstance(value, dict):
    return f"there is a {type(value).__name__}"
  parts = [str(key) for key, x in value.items() if not isinstance(x, Tensor)]
  listed = ", ".join(parts[:8]) or "none"
  return f"there are {len(value) - len(parts)} arrays, and besides: {listed}"
