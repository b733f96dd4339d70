"""How many programs a process has compiled: more and more is a mistake."""

import functools

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"


def compilations() -> int:
  """Returns how many there were since the first call, which returns 0."""
  return _counter()[0]


@functools.cache
def _counter() -> list[int]:
  """The count, which JAX's events raise from now on."""
  count = [0]

  def listen(event, seconds, **details):
    del seconds, details
    count[0] += event == _EVENT

  jax.monitoring.register_event_duration_secs_listener(listen)
  return count
