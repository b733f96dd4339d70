"""What the configs share: reading their argument, and the usual values."""

import ml_collections


def parse_arg(arg: str, **defaults):
  """Returns the values of `key=value,key=value`, in the defaults' types.

  Raises:
    ValueError: a key without a default, or a value of another type.
  """
  values = ml_collections.ConfigDict(defaults)
  for item in filter(None, (arg or "").split(",")):
    key, _, value = item.partition("=")
    if key not in defaults:
      raise ValueError(
        f"unknown config argument {key!r}; known: {', '.join(defaults)}"
      )
    kind = type(defaults[key])
    try:
      values[key] = value == "True" if kind is bool else kind(value)
    except ValueError as error:
      raise ValueError(
        f"config argument {key} must be {kind.__name__}, got {value!r}"
      ) from error
  return values


def base() -> ml_collections.ConfigDict:
  """Returns a config in which only data, model and evaluations are missing."""
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.total_steps = 1000
  config.log_every = 10
  config.objectives = dict(contrastive=dict(weight=1.0))
  config.optimizer = dict(
    learning_rate=1e-3,
    warmup_steps=100,
    floor=0.01,
    b1=0.9,
    b2=0.98,
    weight_decay=0.05,
    clip_norm=1.0,
    accumulate_steps=1,
    ema_decay=0.0,
  )
  config.mesh = dict(data=-1)  # -1: all devices that are left
  config.checkpoint = dict(every=1000, keep_last=2, keep_best=0, best_metric="")
  config.evals = dict()
  config.compilation_cache = ""
  return config


def loader() -> dict:
  """Returns the usual way of reading data."""
  return dict(num_threads=2, prefetch=2, failure_budget=0.05, budget_after=1000)


def sprites_data(batch_size: int, tracks: str = "exact", **train) -> dict:
  """Returns the `data` of a run on the embedded moving sprites."""
  return dict(
    batch_size=batch_size,
    clip=dict(frames=16, size=64, track_grid=32, max_tracks=10),
    text=dict(name="words", vocabulary="moving_sprites", length=26),
    train=dict(name="moving_sprites", split="train", tracks=tracks, **train),
    loader=loader(),
  )
