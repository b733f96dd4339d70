r"""Nested 1-D tokens on moving sprites: one model for every budget.

  python train.py --config=configs/flextok_sprites.py --workdir=runs/flextok

Registers read the patches of a clip, the first ones for themselves (FlexTok,
arXiv:2502.13967); FSQ rounds them to 64,000 codes each, and a decoder makes
frames of the first k of them, k drawn anew for every clip. The keys below make
it another model: `nested=False` keeps all tokens always, `decoder=flow` makes
frames from noise, `joint=True` learns from captions as well, in one model on
one batch. `adversarial=True` trains a discriminator along, which the decoder
hears of from the middle of the run on, and `perceptual=RUN` compares frames in
the features of a network besides; both are for decoder=pixel. `align=RUN` holds
the decoder's second block to such features (REPA), for decoder=pixel and flow.
RUN is `moving_sprites`, the network that comes with the library, or a finished
run of feature_net_sprites. Evaluations are at every budget, the Fréchet
distance by `moving_sprites` among them. See docs/nested_tokens.md, which has
what the defaults reach in minutes.
"""

from configs import common, feature_net_sprites

PATCH = (2, 16, 16)
LEVELS = (8, 8, 8, 5, 5, 5)
DECODERS = {
  "pixel": dict(
    name="pixel", patch=PATCH, inner_width=96, depth=2, init_std=0.5
  ),
  "flow": dict(name="flow", patch=PATCH, inner_width=96, depth=3, steps=20),
  "coordinate": dict(name="coordinate", patch=PATCH, inner_width=96),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES.

  Raises:
    ValueError: an unknown decoder, or one that makes no whole frames in
      training where these are to be judged, or not all patches where these are
      to be aligned.
  """
  arg = common.parse_arg(
    arg,
    registers=32,
    nested=True,
    decoder="pixel",
    joint=False,
    adversarial=False,
    perceptual="",
    align="",
    **common.SPRITES | dict(steps=2400),
  )
  common.check_choice("decoder", arg.decoder, DECODERS)
  if (arg.adversarial or arg.perceptual) and arg.decoder != "pixel":
    raise ValueError(
      "adversarial=True and perceptual=RUN are for decoder=pixel, "
      f"got {arg.decoder}"
    )
  if arg.align and arg.decoder == "coordinate":
    raise ValueError(
      f"align=RUN is for decoder=pixel and flow, got {arg.decoder}"
    )
  config = common.sprites_base(arg)
  # How soon tokens leave the mean frame is a matter of steps, not of clips.
  config.data.batch_size = 16
  config.optimizer.learning_rate = 1.5e-3
  config.optimizer.warmup_steps = min(100, arg.steps // 3)
  config.log_every = 20
  tokenizer = dict(
    name="registers",
    num_registers=arg.registers,
    patch=PATCH,
    init_std=0.5,
    depth=1,
  )
  parts = dict(
    reconstruction=dict(
      dim=len(LEVELS),
      quantizer=dict(name="fsq", levels=LEVELS, drop_quant_p=0.25),
      decoder=DECODERS[arg.decoder],
    )
  )
  if arg.nested:
    mode = "pow2" if arg.joint else "uniform"
    parts["nested"] = dict(mode=mode, full=0.1)
  if arg.joint:
    config.model = common.sprites_model(tokenizer, "mean") | parts
    config.model.encoder.depth = 1
    config.data.batch_size = 32
    config.evals = common.sprites_retrieval(config)
    config.objectives.reconstruction = dict(weight=4.0, l2=1.0)
  else:
    config.model = dict(
      name="autoencoder", tokenizer=tokenizer, width=96, num_heads=4, **parts
    )
    config.objectives = dict(reconstruction=dict(weight=1.0, l2=1.0))
  if arg.adversarial:
    add_adversary(config)
  if arg.perceptual:
    add_perceptual(config, arg.perceptual)
  if arg.align:
    common.add_alignment(config, arg.align, network(), block=1, hidden=192)
  budgets = common.budgets(arg.registers) if arg.nested else ()
  for name in ("reconstruction", "linear_probe", "frechet"):
    config.evals[name] = common.sprites_eval(
      config, name, "validation", budgets=budgets
    )
  config.evals.linear_probe.data.label = "colors"
  config.evals.frechet.features = "moving_sprites"
  return config


def add_adversary(config):
  """In place: a discriminator, that learns from the middle of the run on."""
  config.model.reconstruction.adversarial = dict(widths=(32, 64, 128))
  config.objectives.adversarial = dict(
    weight=1.0,
    generator=0.1,
    start=config.total_steps // 2,
    ramp_steps=config.total_steps // 10,
    adaptive=dict(l2=1.0),
  )
  # A group of its own: neither side's gradients are clipped by the other's.
  config.optimizer.rates = {"/adversary/": 0.5}


def add_perceptual(config, run: str):
  """In place: the network of features that a run has trained."""
  config.model.reconstruction.perceptual = network()
  config.objectives.perceptual = dict(weight=0.1)
  common.add_frozen(config, "reconstruction/perceptual/network", run)


def network() -> dict:
  """Returns the arguments of the network that feature_net_sprites trains."""
  model = feature_net_sprites.get_config().model.to_dict()
  return {key: x for key, x in model.items() if key != "name"}
