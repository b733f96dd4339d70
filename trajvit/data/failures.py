"""The failure budget: broken clips are replaced, but not without limit."""

import collections
from collections.abc import Iterable

from absl import logging

WORST = 5  # files named in messages


class TooManyBrokenClips(RuntimeError):
  """More clips could not be read than the failure budget allows."""


class FailureBudget:
  """Counts the clips that were read and those that could not be.

  Attributes:
    attempts: how often a clip was opened.
    failures: how many of those attempts failed.
    files: failures by file.
    reasons: the last reason of each file.
  """

  def __init__(self, budget: float = 0.1, after: int = 1000):
    """Allows a share of failures.

    Args:
      budget: the largest share of attempts that may fail, in [0, 1].
      after: attempts before the share is looked at, at least 1: a bad clip
        among the first ten says little.

    Raises:
      ValueError: an argument is out of range.
    """
    if not 0 <= budget <= 1:
      raise ValueError(f"failure_budget must be in [0, 1], got {budget}")
    if after < 1:
      raise ValueError(f"budget_after must be at least 1, got {after}")
    self.budget, self.after = budget, after
    self.attempts = self.failures = 0
    self.files: collections.Counter[str] = collections.Counter()
    self.reasons: dict[str, str] = {}

  def __len__(self) -> int:
    """How many different files failed."""
    return len(self.files)

  @property
  def rate(self) -> float:
    """The share of attempts that failed; 0 before the first attempt."""
    return self.failures / self.attempts if self.attempts else 0.0

  def count(self, ok: int, skipped: Iterable[tuple[str, str]]) -> None:
    """Adds `ok` clips that were read and the (name, reason) of those skipped.

    Each file is logged the first time that it fails.
    """
    skipped = tuple(skipped)
    self.attempts += ok + len(skipped)
    self.failures += len(skipped)
    for name, reason in skipped:
      if name not in self.files:
        logging.warning("skipped %s: %s", name, reason)
      self.files[name] += 1
      self.reasons[name] = reason

  def record(self, ok: int, skipped: Iterable[tuple[str, str]]) -> None:
    """Counts, then enforces the budget.

    Raises:
      TooManyBrokenClips: at least `after` attempts were made and more than
        `budget` of them failed.
    """
    self.count(ok, skipped)
    if self.attempts >= self.after and self.rate > self.budget:
      raise TooManyBrokenClips(
        f"{self.rate:.1%} of the clips could not be read, more than the "
        f"failure budget of {self.budget:.1%}: {self._counts()}.\n"
        + self.worst()
      )

  def worst(self) -> str:
    """The files that failed most: a line each, with count and reason."""
    return "\n".join(
      f"  {count} x {name}: {self.reasons[name]}"
      for name, count in self.files.most_common(WORST)
    )

  def summary(self) -> str:
    """One line for a log, such as "3 of 120 reads failed (2.5%), 2 files"."""
    if not self.failures:
      return f"all {self.attempts} reads succeeded"
    files = f"{len(self)} file" + "s" * (len(self) > 1)
    return f"{self._counts()} ({self.rate:.1%}), {files}"

  def _counts(self) -> str:
    return f"{self.failures} of {self.attempts} reads failed"
