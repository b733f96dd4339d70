"""M3: the grid pooled to one of several nested sizes."""

from collections.abc import Sequence

from trajvit.ops.grid_pool import halvings, largest_windows, pool_grid
from trajvit.reducers.elastic import Elastic, Plan
from trajvit.types import Tokens


class Matryoshka(Elastic):
  """Pools every frame to a square of windows, whose side is the budget (M3).

  Where one side divides another, the tokens of the smaller one are the means of
  those of the larger one: coarse tokens nest in fine ones. Source: Matryoshka
  Multimodal Models, arXiv:2405.17430. There the loss is averaged over all sides
  in every step, here a step draws one, which has the same mean. Sides need not
  divide the grid: windows then overlap, where the paper drops what is left.

  Args:
    k: slots at most, with the protected ones. If not even the smallest side
      fits, frames are averaged too, by the smallest factor that does.
    grid: (T, h, w) of the patches.
    budgets: sides; None is that of the grid and its halvings down to 1: 24, 12,
      6, 3, 1, as in the paper.
    budget: the side at inference; None is the largest that fits.
  """

  def __init__(
    self,
    *,
    k: int,
    grid: tuple[int, int, int],
    budgets: Sequence[int] | None = None,
    budget: int | None = None,
  ):
    budgets = halvings(grid) if budgets is None else budgets
    super().__init__(k=k, grid=grid, budgets=budgets, budget=budget)

  def plan(self, budget: int, prefix: int) -> Plan | None:
    """See Elastic."""
    frames, height, width = self.grid
    plan = Plan((frames, min(budget, height), min(budget, width)))
    return plan if prefix + plan.slots <= self.k else None

  def least(self, prefix: int) -> Plan:
    """See Elastic."""
    return Plan(largest_windows(self.grid, self.budgets, self.k - prefix))

  def run(self, tokens: Tokens, plan: Plan) -> Tokens:
    """See Elastic."""
    return pool_grid(tokens, self.grid, plan.windows)
