"""How numbers of a PyTorch array lie in ours, and the way back."""

import dataclasses
from collections.abc import Callable

import numpy as np

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Layout:
  """From their arrays to ours, and back.

  Attributes:
    name: for people.
    forward: their arrays, in the order of the entry -> ours.
    back: ours -> theirs.
    exact: whether `back(forward(x))` is x to the last bit.
  """

  name: str
  forward: Callable[[Arrays], Arrays]
  back: Callable[[Arrays], Arrays]
  exact: bool = True


def permuted(name: str, *axes: int) -> Layout:
  """Returns the layout whose axis i is theirs at `axes[i]`."""
  inverse = tuple(int(i) for i in np.argsort(axes))
  return Layout(
    name,
    lambda xs: [_axes(x, len(axes)).transpose(axes) for x in xs],
    lambda xs: [x.transpose(inverse) for x in xs],
  )


def leading(count: int) -> Layout:
  """Returns the layout in which theirs has so many axes of 1 more in front."""

  def forward(xs):
    if any(x.shape[:count] != (1,) * count for x in xs):
      raise ValueError(f"expected {count} leading axes of 1")
    return [x.reshape(x.shape[count:]) for x in xs]

  return Layout(
    f"without {count} axes of 1",
    forward,
    lambda xs: [x.reshape((1,) * count + x.shape) for x in xs],
  )


def patches(*kernel: int, channels: int = 3) -> Layout:
  """Returns the layout of a convolution whose stride is its kernel.

  Theirs is [out, channels, *kernel], ours a matrix [pixels, out] of patches
  flattened channels last; see `layers.patches`.

  Args:
    *kernel: (rows, columns) or (frames, rows, columns).
    channels: C.
  """
  axes = (*range(2, 2 + len(kernel)), 1, 0)
  order = permuted("", *axes)

  def forward(xs):
    for x in xs:
      if x.shape[1:] != (channels, *kernel):
        raise ValueError(f"expected kernels of {(channels, *kernel)}")
    return [x.reshape(-1, x.shape[-1]) for x in order.forward(xs)]

  def back(xs):
    return order.back([x.reshape(*kernel, channels, -1) for x in xs])

  return Layout("patches as a matrix", forward, back)


def split(count: int, then: "Layout") -> Layout:
  """Returns the layout in which one array of theirs is `count` of ours.

  Args:
    count: equal parts along the first axis of theirs, such as 3 for a fused
      query, key and value.
    then: of each part.
  """

  def forward(xs):
    (x,) = xs
    return then.forward(np.split(x, count))

  return Layout(
    f"{count} parts, each {then.name}",
    forward,
    lambda xs: [np.concatenate(then.back(xs))],
    exact=then.exact,
  )


def fused(count: int, then: "Layout") -> Layout:
  """Returns the layout in which `count` arrays of theirs are one of ours.

  Args:
    count: of theirs, put together along their first axis.
    then: of the whole.
  """

  def forward(xs):
    if len(xs) != count:
      raise ValueError(f"expected {count} arrays, got {len(xs)}")
    return then.forward([np.concatenate(xs)])

  return Layout(
    f"{count} put together, {then.name}",
    forward,
    lambda xs: np.split(then.back(xs)[0], count),
    exact=then.exact,
  )


def heads(count: int, then: "Layout") -> Layout:
  """Returns the layout of [..., heads, d], heads lying side by side in ours.

  Args:
    count: of heads.
    then: of what has them so, [..., heads d].
  """

  def forward(xs):
    if any(x.ndim < 2 or x.shape[-2] != count for x in xs):
      raise ValueError(f"expected {count} heads")
    return then.forward([x.reshape(*x.shape[:-2], -1) for x in xs])

  def back(xs):
    return [x.reshape(*x.shape[:-1], count, -1) for x in then.back(xs)]

  return Layout(f"{count} heads, {then.name}", forward, back, then.exact)


def _axes(x, count):
  if x.ndim != count:
    raise ValueError(f"expected {count} axes")
  return x


def _cells(x):
  if x.shape[2:] != (1, 1):
    raise ValueError("expected a kernel of one cell")
  return x[..., 0, 0]


def _log(xs):
  if any(not np.all(x > 0) for x in xs):
    raise ValueError("expected numbers above 0")
  return [np.log(x.astype(np.float64)) for x in xs]


def _turned(xs):
  return [x.swapaxes(-1, -2) for x in xs]


KEEP = Layout("as it is", list, list)
# Linear maps [..., out, in] of a stack, or a single one.
MATRICES = Layout("transposed", _turned, _turned)
# A linear map: theirs is [out, in].
MATRIX = permuted("transposed", 1, 0)
# A convolution, depthwise or not: [out, in, rows, columns] to [..., in, out].
CONV = permuted("channels last", 2, 3, 1, 0)
# A convolution of single cells, as a matrix.
POINTWISE = Layout(
  "a matrix",
  lambda xs: [_cells(x).T for x in xs],
  lambda xs: [x.T[..., None, None] for x in xs],
)
# A transposed convolution: [in, out, rows, columns] to [in, ..., out].
CONV_TRANSPOSE = permuted("channels last, transposed", 0, 2, 3, 1)
# A scale that is stored as what it is above one. The sum is rounded.
ONE_MORE = Layout(
  "and one",
  lambda xs: [np.float32(1) + x for x in xs],
  lambda xs: [x - np.float32(1) for x in xs],
  False,
)
# A positive number whose logarithm ours is.
LOG = Layout("its logarithm", _log, lambda xs: [np.exp(x) for x in xs], False)
