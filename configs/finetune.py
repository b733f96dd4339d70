r"""Fine-tunes the encoder of a finished run on the classes of a benchmark.

  python train.py --workdir=runs/ucf \
    --config=configs/finetune.py:run=runs/mine,benchmark=ucf101,root=/data/ucf101

The encoder, its tokenizer and how a clip looks are those of the run. All of it
learns, the encoder at a tenth of the head's rate; with `frozen=True` the head
alone does, on attentive pooling. Clips are cropped, changed in colour, and
mixed with each other, with labels as soft as the mix (arXiv:1710.09412,
arXiv:1905.04899); they are mirrored only where no class tells left from right.
"""

import json
import pathlib

from configs import common

# benchmark -> (classes, split to train on, split to test on, views of a test,
# whether mirroring keeps the class).
BENCHMARKS = {
  "breakfast": (10, "train_1", "test_1", (1, 1), True),
  "coin": (180, "train", "test", (1, 1), True),
  "diving48": (48, "train", "test", (4, 3), False),
  "hmdb51": (51, "train_1", "test_1", (4, 3), True),
  "imagenet": (1000, "train", "val", (1, 1), True),
  "kinetics400": (400, "train", "val", (4, 3), True),
  "kinetics600": (600, "train", "val", (4, 3), True),
  "kinetics700": (700, "train", "val", (4, 3), True),
  "something_something_v2": (174, "train", "validation", (2, 3), False),
  "ucf101": (101, "train_1", "test_1", (4, 3), True),
}
MIX = dict(mixup=0.8, cutmix=1.0, switch=0.5, p=1.0)
# Where each part stands in the model: in the run it has the same name.
ENCODER = {"features/tokenizer": "tokenizer", "features/encoder": "encoder"}


def get_config(arg=""):
  """Returns the config; `arg` sets the keys below.

  Raises:
    ValueError: no run, or an unknown benchmark.
  """
  arg = common.parse_arg(
    arg,
    run="",
    benchmark="ucf101",
    root="",
    frozen=False,
    tracks="auto",
    counts=True,
    steps=20_000,
    batch_size=64,
    seed=0,
  )
  common.check_choice("benchmark", arg.benchmark, BENCHMARKS)
  if not arg.run:
    raise ValueError("run=RUN must name a finished run, see the docstring")
  classes, train, test, views, mirrored = BENCHMARKS[arg.benchmark]
  trained = json.loads((pathlib.Path(arg.run) / "config.json").read_text())
  encoder = trained["model"]["encoder"]

  config = common.base()
  config.seed, config.total_steps = arg.seed, arg.steps
  source = dict(
    name="benchmark",
    benchmark=arg.benchmark,
    root=arg.root,
    tracks=arg.tracks,
    counts=arg.counts,
  )
  clip = trained["data"]["clip"]
  flip = "always" if mirrored else "never"
  augment = [
    dict(name="crop_flip", flip=flip),
    dict(name="rand_augment", n=2, magnitude=7),
  ]
  config.data = dict(
    batch_size=arg.batch_size,
    clip=dict(clip, sampler="random_segment", augment=augment),
    train=dict(source, split=train),
    loader=common.loader(),
  )
  if not arg.frozen:
    config.data.mix = MIX
  config.model = dict(
    name="probe",
    features=dict(
      name="encoder", tokenizer=trained["model"]["tokenizer"], encoder=encoder
    ),
    adapter=dict(name="patches"),
    num_classes=classes,
    num_heads=encoder["num_heads"],
    frozen=arg.frozen,
  )
  config.objectives = dict(classification=dict(weight=1.0, label_smoothing=0.1))
  config.warm_start = [dict(workdir=arg.run, parts=ENCODER)]
  config.optimizer.learning_rate = 1e-3
  config.optimizer.warmup_steps = arg.steps // 20
  config.optimizer.b2 = 0.999
  if arg.frozen:
    config.optimizer.frozen = ["^features/"]
  else:
    config.optimizer.rates = {"^features/": 0.1}
  seen = dict(sampler="middle", augment="none")
  if views != (1, 1):
    seen["augment"] = "center_crop"
  config.evals = dict(
    test=dict(
      name="classification",
      data=dict(source, split=test, views=views, clip=seen),
    )
  )
  config.checkpoint.every = 1000
  return config
