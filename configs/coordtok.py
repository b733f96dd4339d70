r"""CoordTok: 128 frames as 1280 tokens, decoded patch by patch.

Source: arXiv:2411.14762, known to us by its abstract. Three planes over (row,
column), (time, row) and (time, column) are what is known of a clip, and a patch
is made from their features at its place. In training it is a few patches of a
clip, so that its cost does not grow with the number of frames.

  python train.py --config=configs/coordtok.py \
    --config.data.train.manifest=videos.json --workdir=runs/coordtok

The planes have 16 x 16 + 2 (32 x 16) = 1280 cells, as many as there are tokens.
In the paper the cells are the tokens; here registers are, of 8 numbers each,
and the cells read them. Depths, and the share of patches, are our choice.
"""

from configs import common


def get_config(arg=""):
  """Returns the config; `arg` may set the keys below and AUTOENCODER."""
  arg = common.parse_arg(
    arg,
    registers=1280,
    fraction=0.03,
    frames=128,
    size=128,
    **common.AUTOENCODER,
  )
  config = common.autoencoder_base(arg)
  decoder = dict(
    name="coordinate",
    patch=(1, 8, 8),
    planes=(arg.frames // 4, 16, 16),
    inner_width=768,
    read_depth=2,
    depth=8,
    num_heads=12,
    fraction=arg.fraction,
    remat="full",
  )
  config.model = common.autoencoder_model(
    dict(
      num_registers=arg.registers,
      patch=(8, 8, 8),
      pattern=dict(name="dense"),
      depth=12,
    ),
    width=768,
    num_heads=12,
    reconstruction=dict(dim=8, quantizer=dict(name="none"), decoder=decoder),
  )
  return config
