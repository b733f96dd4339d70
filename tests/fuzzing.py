"""Tests with any input: a few of them by default, FUZZ=100 times as many."""

import os

from hypothesis import HealthCheck, settings


def fuzz(examples: int) -> settings:
  """Returns how a test is run that is given so many inputs."""
  return settings(
    max_examples=examples * int(os.environ.get("FUZZ", "1")),
    deadline=None,
    suppress_health_check=[
      HealthCheck.function_scoped_fixture,  # a folder may be written to again
      HealthCheck.too_slow,
    ],
  )
