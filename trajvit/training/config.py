"""The config of a run as frozen values; a key that nobody reads is an error."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
  """AdamW with warm-up and cosine decay; see `training.optim`.

  Attributes:
    learning_rate: at the peak of the schedule.
    warmup_steps: steps of linear warm-up.
    floor: the schedule never goes below `floor * learning_rate`.
    b1: decay of the first moment.
    b2: decay of the second moment.
    weight_decay: times the learning rate, on the leaves that decay.
    clip_norm: largest global norm of the gradients; 0 = no clipping.
    accumulate_steps: micro-batches a step; negatives are those of the
      micro-batch, so a contrastive loss sees batch_size / accumulate_steps.
    ema_decay: of the moving average of the parameters; 0 = none is kept.
    frozen: regular expressions; a parameter in whose path one is found, such as
      `^features/`, keeps the value it starts with: it has no gradient, no decay
      and no moments.
    rates: {regular expression: factor of the learning rate}, such as
      `{"/adversary/": 0.5}`, for the parameters in whose path it is found.
      They are a group of their own: `clip_norm` bounds the norm of their
      gradients, and that of all others without them. No two may find the same
      parameter.
  """

  learning_rate: float
  warmup_steps: int
  floor: float = 0.01
  b1: float = 0.9
  b2: float = 0.999
  weight_decay: float = 0.02
  clip_norm: float = 1.0
  accumulate_steps: int = 1
  ema_decay: float = 0.0
  frozen: tuple[str, ...] = ()
  rates: dict[str, float] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    if isinstance(self.frozen, str):
      raise ValueError(
        f"config.optimizer.frozen must be several patterns, got {self.frozen!r}"
      )
    if any(factor < 0 for factor in self.rates.values()):
      raise ValueError(
        "config.optimizer.rates must be at least 0; what is to stand still is "
        f"for config.optimizer.frozen; got {self.rates}"
      )


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each axis; one axis may be -1, all devices that are left.

  Attributes:
    data: every device of this axis has a copy of the parameters.
    fsdp: parameters and optimizer state are cut along this axis. Both axes
      share out the clips of a batch.
    tensor: the heads of attention and the hidden width of perceptrons are cut
      along this axis, and the parameters that make them.
    context: the tokens of a clip are cut along this axis.
  """

  data: int = -1
  fsdp: int = 1
  tensor: int = 1
  context: int = 1


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When to save, and which checkpoints to keep.

  Attributes:
    every: steps between checkpoints; the end is always saved.
    keep_last: how many of the newest stay.
    keep_best: how many of the best stay besides.
    best_metric: name of an evaluation metric, such as `retrieval/t2v_R@1`, to
      be compared at the steps that save and evaluate; more is better, or less
      where the name starts with "-".
  """

  every: int
  keep_last: int = 2
  keep_best: int = 0
  best_metric: str = ""

  def __post_init__(self):
    if self.every < 1 or self.keep_last < 1 or self.keep_best < 0:
      raise ValueError(
        "config.checkpoint needs every >= 1, keep_last >= 1 and keep_best >= "
        f"0, got {self.every}, {self.keep_last} and {self.keep_best}"
      )
    if bool(self.keep_best) != bool(self.best_metric):
      raise ValueError(
        "config.checkpoint needs keep_best and best_metric together, got "
        f"{self.keep_best} and {self.best_metric!r}"
      )


@dataclasses.dataclass(frozen=True)
class WarmStartConfig:
  """Weights of another run to start from; see `training.warm_start`.

  Attributes:
    workdir: of that run, or a name in `workdir.SHIPPED`; read once, before the
      first step.
    parts: {path of a module here: its path in that run's model}, such as
      `{"features/encoder": "encoder"}`; an empty path is the whole model.
    step: which checkpoint; None = the newest, "best" = the best.
  """

  workdir: str
  parts: dict
  step: int | str | None = None


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """One evaluation.

  Attributes:
    data: spec of the source.
    every: steps between evaluations; 0 = only at the end, where all run.
    spec: spec of the evaluator, whose name is that of the evaluation unless it
      says otherwise.
  """

  data: dict
  every: int
  spec: dict


@dataclasses.dataclass(frozen=True)
class RunConfig:
  """All of a run.

  Attributes:
    seed: of the initial parameters, of the data order and of each step.
    total_steps: length of the run and of the learning rate schedule.
    log_every: steps between rows of metrics.jsonl.
    data: for `data.build_loader`; of it, `batch_size` is read here too.
    model: spec of the model.
    objectives: {name: {"weight": ..., **options}}.
    optimizer: see OptimizerConfig.
    checkpoint: see CheckpointConfig.
    mesh: see MeshConfig.
    evals: {key: EvalConfig}.
    warm_start: see WarmStartConfig; a config has one, or a list of them, which
      are put in one after the other. Empty = initial values alone.
    compilation_cache: folder of compiled programs; empty means
      ~/.cache/trajvit/jax, and "none" that nothing is kept.
  """

  seed: int
  total_steps: int
  log_every: int
  data: dict
  model: dict
  objectives: dict
  optimizer: OptimizerConfig
  checkpoint: CheckpointConfig
  mesh: MeshConfig = MeshConfig()
  evals: dict = dataclasses.field(default_factory=dict)
  warm_start: tuple[WarmStartConfig, ...] = ()
  compilation_cache: str = ""

  def __post_init__(self):
    if self.total_steps < 1 or self.log_every < 1:
      raise ValueError(
        "config needs total_steps >= 1 and log_every >= 1, got "
        f"{self.total_steps} and {self.log_every}"
      )


PARTS = {
  "optimizer": OptimizerConfig,
  "checkpoint": CheckpointConfig,
  "mesh": MeshConfig,
}


def read_config(config: dict) -> RunConfig:
  """Returns the config of a run from plain nested dicts.

  Raises:
    ValueError: a key that nobody reads, one that is missing, or a value out of
      range; the message says where it stands.
  """
  values = dict(config)
  for name, part in PARTS.items():
    if name in values:
      values[name] = _read(part, values[name], f"config.{name}")
  runs = values.get("warm_start") or ()
  values["warm_start"] = tuple(
    _read(WarmStartConfig, run, "config.warm_start")
    for run in ([runs] if isinstance(runs, dict) else runs)
  )
  values["evals"] = read_evals(values.get("evals") or {})
  return _read(RunConfig, values, "config")


def read_evals(evals: dict) -> dict[str, EvalConfig]:
  """Returns the evaluations of a config from plain nested dicts.

  Raises:
    ValueError: as `read_config`.
  """
  return {key: _read_eval(key, value) for key, value in evals.items()}


def plain_values(config: RunConfig) -> dict:
  """Returns nested dicts of which `read_config` makes this config again."""
  values = dataclasses.asdict(config)
  values["evals"] = {
    key: {**value["spec"], "data": value["data"], "every": value["every"]}
    for key, value in values["evals"].items()
  }
  return values


def _read(cls, values, where):
  """`cls(**values)` with messages for a person."""
  if not isinstance(values, dict):
    raise ValueError(f"{where} must be a dict, got {values!r}")
  fields = dataclasses.fields(cls)
  known = [field.name for field in fields]
  unread = sorted(set(values) - set(known))
  if unread:
    raise ValueError(
      f"{where} reads no {', '.join(map(repr, unread))}; "
      f"it takes {', '.join(known)}"
    )
  nothing = dataclasses.MISSING
  missing = [
    field.name
    for field in fields
    if field.name not in values
    and field.default is nothing
    and field.default_factory is nothing
  ]
  if missing:
    raise ValueError(f"{where} needs {', '.join(map(repr, missing))}")
  return cls(**values)


def _read_eval(key, values):
  """An evaluation: its data, when it runs, and the spec of its evaluator."""
  spec = {"name": key, **values}
  if "data" not in spec:
    raise ValueError(f"config.evals.{key} needs 'data', the spec of a source")
  data, every = spec.pop("data"), spec.pop("every", 0)
  return EvalConfig(data=data, every=every, spec=spec)
