r"""One-D-Piece: TiTok's 256 tokens, the last of which may be dropped.

Source: arXiv:2501.10064. All tokens are made, and the decoder reads the first
k, drawn anew for every clip; a missing tail leaves no trace. The paper draws
one k for the whole batch, and learns in two stages, see titok.

  python train.py --config=configs/one_d_piece.py \
    --config.data.train.manifest=images --workdir=runs/one_d_piece

As in TiTok all registers read each other, so that the encoder costs the same
for every k; `pattern=nested_registers` makes the first k cheaper too.
"""

from configs import common, titok

PATTERNS = ("dense", "nested_registers")


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    encoder="B",
    decoder="B",
    registers=256,
    pattern="dense",
    adversarial=False,
    frames=1,
    size=256,
    **common.AUTOENCODER,
  )
  common.check_choice("pattern", arg.pattern, PATTERNS)
  config = common.autoencoder_base(arg, common.budgets(arg.registers))
  config.model = titok.model(
    arg, dict(name=arg.pattern), nested=dict(mode="uniform")
  )
  return titok.trained(config, arg)
