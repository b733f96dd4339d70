"""What reducers share that are one model for many budgets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from trajvit.layers.reducer import Reducer
from trajvit.ops.learned_tokens import behind_protected
from trajvit.types import Tokens


class Plan(NamedTuple):
  """How one budget is spent.

  Attributes:
    windows: (t, y, x), the grid that patches are pooled to.
    queries: learned queries beside it.
  """

  windows: tuple[int, int, int]
  queries: int = 0

  @property
  def slots(self) -> int:
    """Tokens that come out beside the protected ones."""
    return math.prod(self.windows) + self.queries


class Elastic(Reducer):
  """One model for several budgets, of which each step of training draws one.

  All budgets have the same parameters. In training there are as many slots as
  the largest budget wants, those that another one leaves are masked; at
  inference there are just as many as are wanted. A subclass says how a budget
  is spent, `plan`, and what comes out, `run`.

  Args:
    k: slots at most, with the protected ones; budgets that want more are never
      run.
    grid: (T, h, w) of the patches.
    budgets: what training draws from, in the unit of the subclass.
    budget: that of inference; None is the largest that fits.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    budgets: Sequence[int],
    budget: int | None = None,
  ):
    self.budgets = tuple(sorted(set(budgets), reverse=True))
    if not self.budgets or self.budgets[-1] < 1:
      raise ValueError(f"budgets must be positive, got {tuple(budgets)}")
    if budget is not None and budget not in self.budgets:
      raise ValueError(f"budget must be one of {self.budgets}, got {budget}")
    self.k, self.grid, self.budget = k, tuple(grid), budget

  def plan(self, budget: int, prefix: int) -> Plan | None:
    """Returns how to spend a budget beside P slots; None if it does not fit."""
    raise NotImplementedError

  def least(self, prefix: int) -> Plan:
    """Returns what is done where no budget fits.

    Raises:
      ValueError: nothing can be done.
    """
    raise ValueError(
      f"k must leave room for one of the budgets {self.budgets} beside the "
      f"{prefix} tokens that are no patches, got {self.k}"
    )

  def run(self, tokens: Tokens, plan: Plan) -> Tokens:
    """Returns `plan.slots` tokens, without the protected ones."""
    raise NotImplementedError

  def __call__(self, tokens: Tokens, *, key=None) -> tuple[Tokens, dict]:
    """Returns the protected tokens, then those of one budget.

    Args:
      tokens: P protected slots, then the T h w patches.
      key: draws the budget, one for the whole batch; None takes `budget`.

    Returns:
      Tokens, and aux: `budget` [] int32, tokens wanted of each clip beside the
      protected ones.

    Raises:
      ValueError: nothing fits into k; or there are fewer slots than patches.
    """
    prefix = max(tokens.mask.shape[1] - math.prod(self.grid), 0)
    plans = self._plans(prefix, training=key is not None)
    slots = prefix + max(plan.slots for plan in plans)

    def at(plan):
      return lambda tokens: behind_protected(
        tokens, self.run(tokens, plan), slots
      )

    sizes = jnp.array([plan.slots for plan in plans], jnp.int32)
    if len(plans) == 1:
      return at(plans[0])(tokens), {"budget": sizes[0]}
    drawn = jax.random.randint(key, (), 0, len(plans))
    reduced = jax.lax.switch(drawn, [at(plan) for plan in plans], tokens)
    return reduced, {"budget": sizes[drawn]}

  def _plans(self, prefix, training):
    """What training draws from, or the one plan of inference."""
    if not training and self.budget is not None:
      plan = self.plan(self.budget, prefix)
      if plan is None:
        raise ValueError(
          f"budget {self.budget} does not fit into k = {self.k} slots, "
          f"{prefix} of which are no patches"
        )
      return [plan]
    plans = [self.plan(budget, prefix) for budget in self.budgets]
    plans = [plan for plan in plans if plan] or [self.least(prefix)]
    return plans if training else plans[:1]
