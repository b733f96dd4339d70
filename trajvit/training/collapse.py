"""An alarm for codebooks of which almost nothing is used any more."""


class CollapseAlarm:
  """Watches the rows of a run's metrics for quantizers that stay collapsed.

  The first batches may use few codes, and any batch can be an odd one: it takes
  several rows in a row. What a run that was restarted had counted is lost.

  Args:
    below: a row counts if its metric is under this.
    patience: rows in a row until the alarm, at least 1.
    metric: last part of the metric's name. The share of codes that uniform use
      would show does not depend on how many tokens are in a batch; plain
      `usage` does.

  Raises:
    ValueError: `patience` is below 1.
  """

  def __init__(
    self,
    *,
    below: float = 0.1,
    patience: int = 3,
    metric: str = "usage_of_expected",
  ):
    if patience < 1:
      raise ValueError(f"patience must be at least 1, got {patience}")
    self.below, self.patience, self.metric = below, patience, metric
    self._low = {}

  def __call__(self, metrics: dict) -> list[str]:
    """Returns the quantizers that have just collapsed, sorted.

    Each is named once, and again only after it has recovered in between.

    Args:
      metrics: a row, {name: number}; `tokenizer/usage_of_expected` is that of
        the quantizer "tokenizer". NaN does not count, nor does a row without
        the metric.
    """
    collapsed = []
    for name, value in metrics.items():
      quantizer, _, last = name.rpartition("/")
      if last != self.metric:
        continue
      low = self._low.get(quantizer, 0) + 1 if value < self.below else 0
      self._low[quantizer] = low
      if low == self.patience:
        collapsed.append(quantizer)
    return sorted(collapsed)
