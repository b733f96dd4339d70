r"""ReToK: nested tokens whose tail is trained as often as it is read.

Source: arXiv:2601.01535, known to us by its abstract. Nested dropout reads the
last tokens seldom. M redundant registers behind the last one, copies of it at
first, are there in training alone, so that token i of N is read N + M - i + 1
times in N + M; how many they are is our choice. `align=RUN` holds the decoder's
features to those of a finished run of feature_net_clip with as many `classes`,
the less, the more tokens are read; block, weight and schedule are ours.

  python train.py --config=configs/retok.py \
    --config.data.train.manifest=images --workdir=runs/retok

The base is One-D-Piece's (see one_d_piece) with registers that read those in
front of them; the paper's is a Transformer between two convolutional networks.
"""

from configs import common, feature_net_clip, titok


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    encoder="B",
    decoder="B",
    registers=256,
    redundant=64,
    adversarial=False,
    align="",
    classes=400,
    frames=1,
    size=256,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg, common.budgets(arg.registers))
  config.model = titok.model(
    arg, dict(name="nested_registers"), nested=dict(mode="uniform")
  )
  config.model.tokenizer.redundant = arg.redundant
  if arg.align:
    common.add_alignment(
      config,
      arg.align,
      feature_net_clip.network(arg.classes),
      block=titok.SIZES[arg.decoder]["depth"] // 3,
      hidden=2048,
      schedule="linear",
    )
  return titok.trained(config, arg)
