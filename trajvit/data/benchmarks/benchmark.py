"""What a benchmark is: splits with a protocol, and how its files are listed."""

import abc
import dataclasses
import pathlib
from collections.abc import Mapping
from typing import ClassVar

from trajvit.data.benchmarks.counts import check_counts
from trajvit.data.manifest import Record


@dataclasses.dataclass(frozen=True)
class Listing:
  """The clips of a split.

  Attributes:
    records: one a clip; files may be missing, which is found out and counted
      when the clip is read.
    classes: the names of the classes, by label; empty where there are none.
  """

  records: tuple[Record, ...]
  classes: tuple[str, ...] = ()

  def counts(self) -> dict[str, int]:
    """Returns how many clips, files, captions and classes there are."""
    return {
      "clips": len(self.records),
      "files": len({record.path for record in self.records}),
      "captions": sum(len(record.captions) for record in self.records),
      "classes": len(self.classes),
    }


@dataclasses.dataclass(frozen=True)
class Split:
  """One split of a benchmark.

  Attributes:
    protocol: one sentence: which list this is, what is measured on it, how.
    expected: what it holds, keys as in `Listing.counts`.
  """

  protocol: str
  expected: Mapping[str, int]


class Benchmark(abc.ABC):
  """The files of a public data set, in the layout that they are released in.

  Attributes:
    splits: name -> Split.
  """

  splits: ClassVar[Mapping[str, Split]]

  @abc.abstractmethod
  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips of a split of `splits`, in the order of its list.

    Raises:
      ValueError: a list is missing or not what it should be.
    """

  def listing(self, root: str, split: str, *, counts: bool = True) -> Listing:
    """Returns the clips of a split, held against what it is known to hold.

    Args:
      root: the folder of the data set.
      split: a name in `splits`.
      counts: whether the numbers must be as expected.

    Raises:
      ValueError: no such folder or split, a list that is missing or not what it
        should be, or other numbers than expected.
    """
    name = type(self).__name__
    if split not in self.splits:
      raise ValueError(
        f"{name} has no split {split!r}; known: {', '.join(self.splits)}"
      )
    folder = pathlib.Path(root)
    if not folder.is_dir():
      raise ValueError(f"{name}: no folder {root}")
    listing = self.read(folder, split)
    if counts:
      expected = self.splits[split].expected
      check_counts(f"{name} {split}", expected, listing.counts())
    return listing
