"""Reads the pickle of a PyTorch file as data: nothing in it is ever called.

A pickle is a program for a stack machine. The machine here knows the few
instructions that `torch.save` writes for weights, and a fixed list of names
whose meaning it supplies itself; it imports nothing, calls nothing that the
file names, and sets no attribute. Whatever else a file asks for is refused.
"""

import dataclasses
import pickletools
from collections.abc import Iterator

# Name of a storage class of torch -> the dtype of what it stores.
STORAGES = {
  "BFloat16Storage": "bfloat16",
  "BoolStorage": "bool",
  "ByteStorage": "uint8",
  "CharStorage": "int8",
  "DoubleStorage": "float64",
  "FloatStorage": "float32",
  "HalfStorage": "float16",
  "IntStorage": "int32",
  "LongStorage": "int64",
  "ShortStorage": "int16",
}
# Names that a file may say, besides storages and dtypes.
REBUILD, PARAMETER = (
  "torch._utils _rebuild_tensor_v2",
  "torch._utils _rebuild_parameter",
)
ORDERED, SIZE = "collections OrderedDict", "torch Size"
KNOWN = {REBUILD, PARAMETER, ORDERED, SIZE}
DTYPES = {
  "torch bfloat16",
  "torch bool",
  "torch float16",
  "torch float32",
  "torch float64",
  "torch int16",
  "torch int32",
  "torch int64",
  "torch int8",
  "torch uint8",
}

_MARK = object()
_CONSTANTS = {
  "NONE": lambda: None,
  "NEWTRUE": lambda: True,
  "NEWFALSE": lambda: False,
  "EMPTY_DICT": dict,
  "EMPTY_LIST": list,
  "EMPTY_TUPLE": tuple,
  "MARK": lambda: _MARK,
}
_VALUES = {
  "BINFLOAT",
  "BININT",
  "BININT1",
  "BININT2",
  "BINUNICODE",
  "BINUNICODE8",
  "LONG1",
  "LONG4",
  "SHORT_BINUNICODE",
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclasses.dataclass(frozen=True)
class Name:
  """A name that a file says, which stands for itself alone."""

  name: str


@dataclasses.dataclass(frozen=True)
class Storage:
  """Numbers in a row, in a file of the archive.

  Attributes:
    dtype: of the numbers.
    key: name of that file.
    count: how many numbers there are.
  """

  dtype: str
  key: str
  count: int


@dataclasses.dataclass(frozen=True)
class Tensor:
  """How a tensor lies in its storage, in elements.

  Attributes:
    storage: where its numbers are.
    offset: the first one.
    shape: of the tensor.
    strides: from one to the next along each axis.
  """

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def read_pickle(data: bytes):
  """Returns what a pickle of weights holds.

  Args:
    data: the pickle, of protocol 2 to 5.

  Returns:
    Dicts, lists, tuples, strings and numbers, with a `Tensor` for a tensor and
    a `Name` for a dtype.

  Raises:
    ValueError: it is damaged, or not such a pickle; the message names what it
      asks for.
  """
  stack, memo = [], {}
  for opcode, arg in _instructions(data):
    try:
      if opcode == "STOP":
        (value,) = stack
        return value
      _step(opcode, arg, stack, memo)
    except (IndexError, KeyError, TypeError) as error:
      raise ValueError(f"the pickle is damaged, at {opcode}") from error
  raise ValueError("the pickle is cut short")


def _instructions(data: bytes) -> Iterator[tuple]:
  """(name, argument) of every instruction."""
  try:
    for opcode, arg, _ in pickletools.genops(data):
      yield opcode.name, arg
  except (ValueError, UnicodeDecodeError, OverflowError) as error:
    raise ValueError(f"the pickle is damaged: {error}") from error


def _step(opcode, arg, stack, memo):
  """Runs one instruction."""
  if opcode in _CONSTANTS:
    stack.append(_CONSTANTS[opcode]())
  elif opcode in _VALUES:
    stack.append(arg)
  elif opcode in _TUPLES:
    count = _TUPLES[opcode]
    stack[-count:] = [tuple(_top(stack, count))]
  elif opcode == "TUPLE":
    stack.append(tuple(_since_mark(stack)))
  elif opcode in ("SETITEM", "SETITEMS"):
    items = _since_mark(stack) if opcode == "SETITEMS" else _pop(stack, 2)
    _fill(stack[-1], items)
  elif opcode in ("APPEND", "APPENDS"):
    items = _since_mark(stack) if opcode == "APPENDS" else _pop(stack, 1)
    if type(stack[-1]) is not list:
      raise TypeError("items for what is no list")
    stack[-1].extend(items)
  elif opcode in ("BINPUT", "LONG_BINPUT"):
    memo[arg] = stack[-1]
  elif opcode == "MEMOIZE":
    memo[len(memo)] = stack[-1]
  elif opcode in ("BINGET", "LONG_BINGET"):
    stack.append(memo[arg])
  elif opcode == "GLOBAL":
    stack.append(_name(arg))
  elif opcode == "STACK_GLOBAL":
    module, name = _pop(stack, 2)
    stack.append(_name(f"{module} {name}"))
  elif opcode == "BINPERSID":
    stack.append(_storage(stack.pop()))
  elif opcode == "REDUCE":
    name, args = _pop(stack, 2)
    stack.append(_make(name, args))
  elif opcode == "BUILD":
    # Of a state dict: attributes, such as `_metadata`, that are no weights.
    _, owner = stack.pop(), stack[-1]
    if type(owner) is not dict:
      raise ValueError("the pickle sets attributes of what is no state dict")
  elif opcode not in ("PROTO", "FRAME"):
    raise ValueError(f"the pickle has the instruction {opcode}: no weights do")


def _top(stack, count):
  if len(stack) < count:
    raise IndexError("an empty stack")
  return stack[-count:]


def _pop(stack, count):
  values = _top(stack, count)
  del stack[-count:]
  return values


def _since_mark(stack):
  at = len(stack) - 1
  while stack[at] is not _MARK:
    at -= 1
    if at < 0:
      raise IndexError("no mark")
  values = stack[at + 1 :]
  del stack[at:]
  return values


def _fill(target, items):
  if type(target) is not dict or len(items) % 2:
    raise TypeError("items for what is no dict")
  for key, value in zip(items[::2], items[1::2], strict=True):
    # Only these: to hash others may take all of the stack.
    if type(key) not in (str, int):
      raise ValueError(
        f"keys must be strings or whole numbers, got {type(key).__name__}"
      )
    target[key] = value


def _name(text):
  module, _, name = text.partition(" ")
  if text in KNOWN | DTYPES or (module == "torch" and name in STORAGES):
    return Name(text)
  raise ValueError(
    f"it asks for {text.replace(' ', '.')!r}, which is no part of weights and "
    "might run code; nothing was run. Save the weights alone: "
    "torch.save(model.state_dict(), path)"
  )


def _storage(entry):
  match entry:
    case ("storage", Name(name), str(key), str(), int(count)) if count >= 0:
      kind = name.removeprefix("torch ")
      if kind in STORAGES:
        return Storage(STORAGES[kind], key, count)
  raise ValueError("the pickle names a storage in a way that torch does not")


def _make(name, args):
  """What torch would make of `name(*args)`."""
  match name, args:
    case Name(name=n), () if n == ORDERED:
      return {}
    case Name(name=n), (shape,) if n == SIZE and _is_shape(shape):
      return shape
    case Name(name=n), (Tensor() as tensor, *_) if n == PARAMETER:
      return tensor
    case (
      Name(name=n),
      (Storage() as storage, int(offset), shape, strides, *_),
    ) if n == REBUILD and _is_shape((offset,)):
      if _is_shape(shape) and _is_shape(strides) and len(shape) == len(strides):
        return Tensor(storage, offset, shape, strides)
  raise ValueError("the pickle calls something in a way that torch does not")


def _is_shape(value):
  return (
    type(value) is tuple
    and len(value) <= 32
    and all(type(x) is int and 0 <= x < 2**48 for x in value)
  )
