import jax.numpy as jnp
import pytest

from trajvit.bench import stopwatch


class FakeClock:
  """Seconds that pass only when a call says so."""

  def __init__(self):
    self.now = 0.0

  def __call__(self):
    return self.now


def test_calls_take_turns_on_the_same_new_inputs():
  clock, seen = FakeClock(), []

  def call(name):
    def run(turn):
      clock.now += 2
      seen.append((name, int(turn)))

    return run

  stopwatch.alternate(
    {"a": call("a"), "b": call("b")},
    lambda turn: (turn,),
    rounds=3,
    clock=clock,
  )
  turns = [(name, turn) for turn in range(4) for name in "ab"]
  assert seen == turns  # a long call warms up once


def test_seconds_are_medians_of_what_follows_the_warm_up():
  clock = FakeClock()
  taken = iter([100.0, 3.0, 9.0, 4.0])

  def call(turn):
    clock.now += next(taken)

  seconds, errors = stopwatch.alternate(
    {"a": call}, lambda turn: (turn,), rounds=3, clock=clock
  )
  assert seconds == {"a": 4.0}
  assert not errors


def test_a_short_call_is_repeated_within_a_measurement():
  clock, calls = FakeClock(), []

  def call(turn):
    clock.now += 0.004
    calls.append(turn)

  seconds, _ = stopwatch.alternate(
    {"a": call}, lambda turn: (turn,), rounds=2, clock=clock
  )
  assert len(calls) == 2 + 2 * 5  # 5 times 4 ms are the shortest 20 ms
  assert seconds["a"] == pytest.approx(0.004)


@pytest.mark.parametrize("when", [0, 2])
def test_a_call_that_raises_is_left_out_and_the_others_go_on(when):
  clock, calls = FakeClock(), []

  def bad(turn):
    calls.append(turn)
    clock.now += 2
    if turn == when:
      raise RuntimeError("no such kernel\nand a long story")

  def good(turn):
    clock.now += 5

  seconds, errors = stopwatch.alternate(
    {"bad": bad, "good": good}, lambda turn: (turn,), rounds=3, clock=clock
  )
  assert seconds == {"good": 5.0}
  assert errors == {"bad": "RuntimeError: no such kernel"}
  assert max(calls) == when


def test_memory_of_a_program_counts_temporaries_and_results():
  x = jnp.ones((64, 64))
  small = stopwatch.build(lambda x: x + 1, x)
  large = stopwatch.build(lambda x: jnp.stack([x, x + 1, x + 2]), x)
  assert small.memory_bytes == x.nbytes
  assert large.memory_bytes >= 3 * x.nbytes
  assert (small.call(x) == 2).all()


def test_some_memory_is_available():
  assert stopwatch.available_bytes() > 2**20
