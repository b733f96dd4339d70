"""What the configs share: reading their argument, and the usual values."""

import ml_collections
from ml_collections.config_dict import placeholder

# Arguments of all runs on moving sprites, and what they are unless set.
SPRITES = dict(steps=300, clips=4096, seed=0, cache="")
# Their encoder, which runs in minutes on a CPU.
SPRITES_ENCODER = dict(name="vit", width=96, depth=3, num_heads=4)


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


def check_choice(what: str, value: str, known) -> None:
  """Raises ValueError if `value` is not among the `known` ones."""
  if value not in known:
    raise ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}")


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
  # Devices along each axis; -1: all that are left.
  config.mesh = dict(data=-1, fsdp=1, tensor=1, context=1)
  config.checkpoint = dict(every=1000, keep_last=2, keep_best=0, best_metric="")
  config.evals = dict()
  config.compilation_cache = ""
  return config


def loader() -> dict:
  """Returns the usual way of reading data."""
  return dict(num_threads=2, prefetch=2, failure_budget=0.1, budget_after=1000)


def sprites_data(batch_size: int, tracks: str = "exact", **train) -> dict:
  """Returns the `data` of a run on the embedded moving sprites."""
  return dict(
    batch_size=batch_size,
    clip=dict(frames=16, size=64, track_grid=32, max_tracks=10),
    text=dict(name="words", vocabulary="moving_sprites", length=26),
    train=dict(name="moving_sprites", split="train", tracks=tracks, **train),
    loader=loader(),
  )


def sprites_base(arg, tracks: str = "exact") -> ml_collections.ConfigDict:
  """Returns a run on moving sprites in which model and evals are missing.

  Args:
    arg: values of SPRITES.
    tracks: where they come from, see `data.synthetic`.
  """
  config = base()
  config.seed = arg.seed
  config.total_steps = arg.steps
  config.log_every = 5
  config.data = sprites_data(64, tracks, count=arg.clips, cache_dir=arg.cache)
  config.optimizer.learning_rate = 2e-3
  config.optimizer.warmup_steps = min(40, arg.steps // 3)
  config.checkpoint.every = 150
  return config


def sprites_model(tokenizer: dict, pool: str = "cls") -> dict:
  """Returns the two towers that all tokenizers have on moving sprites."""
  return dict(
    name="video_text",
    tokenizer=tokenizer,
    encoder=SPRITES_ENCODER,
    text=dict(name="transformer", width=64, depth=2, num_heads=4),
    embed_dim=64,
    pool=pool,
  )


def sprites_eval(config, name: str, split: str, every: int = 0, **options):
  """Returns an evaluation on a split, with tracks like those of training."""
  train = config.data.train
  data = dict(
    name="moving_sprites",
    split=split,
    tracks=train.tracks,
    cache_dir=train.cache_dir,
  )
  return dict(name=name, every=every, data=data, **options)


def sprites_retrieval(config) -> dict:
  """Returns the evaluations of retrieval, and that of the cost."""

  def on(name, *where, **options):
    return sprites_eval(config, name, *where, **options)

  return dict(
    validation=on("retrieval", "validation", 50),
    static=on("retrieval", "static"),
    moving=on("retrieval", "moving"),
    hard=on("retrieval", "hard", groups=8),
    cost=on("cost", "static"),
  )


def budgets(count: int) -> tuple[int, ...]:
  """Returns the powers of two below a number of nested tokens, and it."""
  return (*(1 << n for n in range(count.bit_length()) if 1 << n < count), count)


def videos_base(
  *, steps: int, batch_size: int, frames: int, size: int
) -> ml_collections.ConfigDict:
  """Returns a run on one's own videos in which the model is missing."""
  config = base()
  config.total_steps = steps
  config.data = dict(
    batch_size=batch_size,
    clip=dict(
      frames=frames,
      size=size,
      track_grid=size // 4,
      max_tracks=128,
      sampler="middle",
      augment="crop_flip",
    ),
    text=dict(name="bytes", length=128),
    train=dict(name="video_files", manifest="", root="", tracks="auto"),
    loader=loader(),
  )
  config.optimizer.learning_rate = 1e-4
  config.optimizer.b2 = 0.999
  config.optimizer.weight_decay = 0.02
  config.optimizer.warmup_steps = steps // 30
  config.checkpoint.every = 1000
  return config


# Arguments of all autoencoders of one's own videos.
AUTOENCODER = dict(steps=100_000, batch_size=64, validation="")


def autoencoder_base(arg, budgets=()) -> ml_collections.ConfigDict:
  """Returns an autoencoder's run on one's own videos, the model missing.

  Args:
    arg: values of AUTOENCODER, `frames` and `size`. `validation` is a manifest
      to evaluate on, "" for none.
    budgets: numbers of nested tokens that it is evaluated at.
  """
  config = frames_base(arg, "reconstruction", budgets=budgets)
  config.objectives = dict(reconstruction=dict(weight=1.0, l2=1.0))
  return config


def frames_base(arg, evaluator: str, **options) -> ml_collections.ConfigDict:
  """Returns a run on the frames of one's own videos, the model missing.

  Args:
    arg: as for `autoencoder_base`.
    evaluator: of the videos in `validation`.
    **options: of the evaluator.
  """
  config = videos_base(
    steps=arg.steps,
    batch_size=arg.batch_size,
    frames=arg.frames,
    size=arg.size,
  )
  del config.data["text"]
  config.data.train.tracks = "none"
  config.data.clip.sampler = "strided" if arg.frames > 1 else "random_segment"
  config.optimizer.ema_decay = 0.999
  if arg.validation:
    data = config.data.train.to_dict() | dict(manifest=arg.validation)
    config.evals[evaluator] = dict(
      name=evaluator, every=5000, data=data, **options
    )
  return config


def add_alignment(
  config, run: str, teacher: dict, *, schedule: str = "const", **options
):
  """In place: a block of the decoder is aligned with what a run has trained.

  Args:
    config: of a model that makes frames.
    run: of the model feature_net.
    teacher: that model's arguments, as the run has them.
    schedule: of the objective.
    **options: `block`, `hidden` and `stage`, see `models.alignment`.
  """
  options["teacher"] = teacher
  config.model.reconstruction.alignment = options
  config.objectives.alignment = dict(weight=0.5, schedule=schedule)
  add_frozen(config, "reconstruction/alignment/teacher", run)


def add_frozen(config, place: str, run: str, origin: str = ""):
  """In place: all parameters below `place` are a run's, and stay so.

  Args:
    config: of a run.
    place: of a module in its model.
    run: whose parameters they are.
    origin: where the module is in the model of that run; "" is the whole model.
  """
  others = config.get("warm_start", [])
  config.warm_start = [*others, dict(workdir=run, parts={place: origin})]
  config.optimizer.frozen = [*config.optimizer.get("frozen", []), f"^{place}/"]


def add_adversary(config, *, generator: float, rate: float = 1.0, **options):
  """In place: a discriminator, that learns from a third of the run on.

  Args:
    config: of an autoencoder whose decoder makes whole frames in training.
    generator: weight of the decoder's loss, at most.
    rate: the discriminator's, in learning rates.
    **options: of `Adversary`.
  """
  config.model.reconstruction.adversarial = options
  config.objectives.adversarial = dict(
    weight=1.0,
    generator=generator,
    start=config.total_steps // 3,
    ramp_steps=config.total_steps // 10,
  )
  config.optimizer.rates = {"/adversary/": rate}


def autoencoder_model(
  tokenizer: dict, *, width: int, num_heads: int, **parts
) -> dict:
  """Returns an autoencoder of registers in bfloat16.

  Args:
    tokenizer: what differs from `registers` with its blocks recomputed.
    width: of its tokens.
    num_heads: of its blocks.
    **parts: `reconstruction`, and `nested` if the tokens are.
  """
  return dict(
    name="autoencoder",
    tokenizer=dict(name="registers", remat="full") | tokenizer,
    width=width,
    num_heads=num_heads,
    dtype="bfloat16",
    **parts,
  )


def videos_model(tokenizer: dict, variant: str) -> ml_collections.ConfigDict:
  """Returns TrajViT's two towers, the video's of the size `variant`."""
  model = ml_collections.ConfigDict(
    dict(
      name="video_text",
      tokenizer=tokenizer,
      encoder=dict(name="vit", variant=variant, remat="full", **_unset()),
      text=dict(name="transformer", variant="S", **_unset()),
      embed_dim=256,
      normalization="imagenet",
      dtype="bfloat16",
    )
  )
  if variant in ("L", "H"):
    # TrajViT keeps depth and heads of these and makes them 512 wide.
    model.encoder.width = 512
  return model


def _unset() -> dict:
  """Returns the numbers that a variant sets, free to be set instead."""
  names = ("width", "depth", "num_heads")
  return {name: placeholder(int) for name in names}
