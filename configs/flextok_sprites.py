r"""Nested 1-D tokens on moving sprites: one model for every budget.

  python train.py --config=configs/flextok_sprites.py --workdir=runs/flextok

Registers read the patches of a clip, the first ones for themselves (FlexTok,
arXiv:2502.13967); FSQ rounds them to 64,000 codes each, and a decoder makes
frames of the first k of them, k drawn anew for every clip. The keys below make
it another model: `nested=False` keeps all tokens always, `decoder=flow` makes
frames from noise, `joint=True` learns from captions as well, in one model on
one batch. Evaluations are at every budget. See docs/nested_tokens.md.
"""

from configs import common

PATCH = (2, 16, 16)
LEVELS = (8, 8, 8, 5, 5, 5)
DECODERS = {
  "pixel": dict(name="pixel", patch=PATCH, inner_width=96, depth=3),
  "flow": dict(name="flow", patch=PATCH, inner_width=96, depth=3, steps=20),
  "coordinate": dict(name="coordinate", patch=PATCH, inner_width=96),
}


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and those of SPRITES."""
  arg = common.parse_arg(
    arg,
    registers=32,
    nested=True,
    decoder="pixel",
    joint=False,
    **common.SPRITES,
  )
  common.check_choice("decoder", arg.decoder, DECODERS)
  config = common.sprites_base(arg)
  config.optimizer.learning_rate = 1e-3
  tokenizer = dict(
    name="registers", num_registers=arg.registers, patch=PATCH, depth=3
  )
  parts = dict(
    reconstruction=dict(
      dim=len(LEVELS),
      quantizer=dict(name="fsq", levels=LEVELS),
      decoder=DECODERS[arg.decoder],
    )
  )
  if arg.nested:
    parts["nested"] = dict(mode="uniform", full=0.1)
  if arg.joint:
    config.model = common.sprites_model(tokenizer, "mean") | parts
    config.model.encoder.depth = 1
    config.evals = common.sprites_retrieval(config)
    config.objectives.reconstruction = dict(weight=1.0, l2=1.0)
  else:
    config.model = dict(
      name="autoencoder", tokenizer=tokenizer, width=96, num_heads=4, **parts
    )
    config.objectives = dict(reconstruction=dict(weight=1.0, l2=1.0))
  budgets = common.budgets(arg.registers) if arg.nested else ()
  for name in ("reconstruction", "linear_probe"):
    config.evals[name] = common.sprites_eval(
      config, name, "validation", budgets=budgets
    )
  return config
