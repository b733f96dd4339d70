"""What a run asks of its process: compiled programs kept, signals heard."""

import signal
from pathlib import Path

import jax

DEFAULT_CACHE = "~/.cache/trajvit/jax"


def keep_compiled_programs(folder: str) -> None:
  """Lets a later process load what this one compiles.

  Args:
    folder: where; empty means DEFAULT_CACHE, and "none" nowhere.
  """
  if folder == "none":
    return
  path = Path(folder or DEFAULT_CACHE).expanduser().resolve()
  path.mkdir(parents=True, exist_ok=True)
  jax.config.update("jax_compilation_cache_dir", str(path))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


class StopRequest:
  """Turns SIGTERM into a question that the loop asks after every step.

  In a run of several processes JAX listens to the signal instead, so that all
  of them stop at the same step; see `Checkpoints.reached_preemption`.
  """

  def __init__(self):
    self._asked = False
    if jax.process_count() == 1:
      signal.signal(signal.SIGTERM, self._ask)

  def __call__(self, checkpoints, step: int) -> bool:
    """Returns whether the run should save and end after `step`."""
    if jax.process_count() > 1:
      return checkpoints.reached_preemption(step)
    return self._asked

  def _ask(self, signum, frame):
    del signum, frame
    self._asked = True
