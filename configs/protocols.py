r"""Named protocols: evaluations on public data sets, as scores are published.

  python eval.py --checkpoint=W --out=W/eval \
    --config=configs/protocols.py:names=msrvtt_1k_a+ucf101,root=/data

A data set lies in the folder of its name below `root`. The model, how large and
how many its frames are and how its captions are encoded stay as they were
trained; the split, the sampling, the views, the metric and what counts as a tie
are the protocol's. docs/protocols.md has them all.
"""

import ml_collections

from configs import common

# A frame is squeezed into the square, and every clip is seen once.
SEEN = dict(sampler="middle", augment="none")
RESAMPLES = 1000  # for intervals of 95 %
SOMETHING = ("something_something_v2", "train", "validation")


def get_config(arg=""):
  """Returns a config with nothing but `evals`.

  `arg` may set `names`, of PROTOCOLS, joined by "+"; `root`, the folder of all
  data sets; `tracks`, see `ClipReader`; and `counts`, whether the lists must be
  as long as they were published.
  """
  arg = common.parse_arg(
    arg, names="msrvtt_1k_a", root="data", tracks="auto", counts=True
  )
  evals = {}
  for name in arg.names.split("+"):
    common.check_choice("protocol", name, PROTOCOLS)
    evals[name] = PROTOCOLS[name](arg)
  return ml_collections.ConfigDict(dict(evals=evals))


def _benchmark(arg, name: str, split: str, **options) -> dict:
  """The data of a split of a benchmark."""
  return dict(
    name="benchmark",
    benchmark=name,
    root=f"{arg.root}/{name}",
    split=split,
    tracks=arg.tracks,
    counts=arg.counts,
    clip=dict(SEEN, **options.pop("clip", {})),
    **options,
  )


def _retrieval(benchmark: str, split: str, captions: int, **clip):
  """Retrieval in both directions, raw and by dual softmax.

  Args:
    benchmark: a name in BENCHMARKS.
    split: of it.
    captions: C, room for captions a clip; more are counted as cut.
    **clip: overrides of the ClipSpec.
  """

  def build(arg):
    data = _benchmark(arg, benchmark, split, captions=captions, clip=clip)
    return dict(
      name="retrieval", data=data, dual_softmax=0.01, bootstrap=RESAMPLES
    )

  return build


def _zero_shot(benchmark: str, split: str, templates: str, **clip):
  """Zero-shot classification by an ensemble of prompts."""

  def build(arg):
    return dict(
      name="zero_shot",
      data=_benchmark(arg, benchmark, split, clip=clip),
      templates=templates,
      bootstrap=RESAMPLES,
    )

  return build


def _probe(evaluator: str, benchmark: str, train: str, test: str, **options):
  """A probe of frozen embeddings, trained on one split and tested on another.

  Args:
    evaluator: "linear_probe" or "knn".
    benchmark: a name in BENCHMARKS.
    train: a split of it.
    test: another.
    **options: of the evaluator.
  """

  def build(arg):
    return dict(
      name=evaluator,
      data=_benchmark(arg, benchmark, test),
      train=_benchmark(arg, benchmark, train),
      bootstrap=RESAMPLES,
      **options,
    )

  return build


def _attentive(benchmark: str, train: str, test: str):
  """Attentive probes of one block, at several learning rates in one pass."""
  return _probe("attentive_probe", benchmark, train, test)


def _charades(arg):
  """Mean average precision over the classes of a video, from prompts."""
  return dict(
    name="multilabel",
    data=_benchmark(arg, "charades", "test"),
    templates="actions",
    bootstrap=RESAMPLES,
  )


def _time(arg):
  """What embeddings keep of the order of frames, and lose without it."""
  _, train, test = SOMETHING
  return dict(
    name="time_probe",
    data=_benchmark(arg, SOMETHING[0], test),
    train=_benchmark(arg, SOMETHING[0], train),
    bootstrap=RESAMPLES,
  )


def _grouping(source: str, folder: str, **data):
  """VEQ, STQ and J&F of eight frames from the first to the last."""

  def build(arg):
    clip = dict(frames=8, sampler="uniform", augment="none")
    spec = dict(name=source, clip=clip, counts=arg.counts, **data)
    if source == "youtube_vis":
      spec["annotations"] = f"{arg.root}/{folder}/instances.json"
    else:
      spec["root"] = f"{arg.root}/{folder}"
    return dict(name="grouping", data=spec)

  return build


def _reconstruction(benchmark: str, split: str):
  """PSNR and SSIM of consecutive frames from the middle of the video."""

  def build(arg):
    clip = dict(sampler="strided", augment="center_crop")
    data = _benchmark(arg, benchmark, split, clip=clip)
    return dict(name="reconstruction", data=data)

  return build


IMAGES = dict(images="single")
PROTOCOLS = {
  "msrvtt_1k_a": _retrieval("msrvtt", "test_1k_a", 1),
  "msrvtt_full": _retrieval("msrvtt", "test_full", 20),
  "msvd": _retrieval("msvd", "test", 100),
  "lsmdc": _retrieval("lsmdc", "test", 1),
  "activitynet_paragraphs": _retrieval("activitynet_captions", "val_1", 1),
  "didemo_paragraphs": _retrieval("didemo", "test", 1),
  "vatex": _retrieval("vatex", "public_test", 10),
  "youcook2": _retrieval("youcook2", "validation", 1),
  "coco": _retrieval("coco_captions", "karpathy_test", 8, **IMAGES),
  "flickr30k": _retrieval("flickr30k", "test", 5, **IMAGES),
  "imagenet": _zero_shot("imagenet", "val", "objects", **IMAGES),
  "kinetics400": _zero_shot("kinetics400", "val", "actions"),
  "kinetics600": _zero_shot("kinetics600", "val", "actions"),
  "kinetics700": _zero_shot("kinetics700", "val", "actions"),
  "ucf101": _zero_shot("ucf101", "test_1", "actions"),
  "hmdb51": _zero_shot("hmdb51", "test_1", "actions"),
  "charades": _charades,
  "ucf101_attentive": _attentive("ucf101", "train_1", "test_1"),
  "diving48_attentive": _attentive("diving48", "train", "test"),
  "something_time": _time,
  "kinetics400_linear": _probe("linear_probe", "kinetics400", "train", "val"),
  "kinetics400_knn": _probe("knn", "kinetics400", "train", "val"),
  "something_linear": _probe("linear_probe", *SOMETHING),
  "something_knn": _probe("knn", *SOMETHING),
  "ucf101_linear": _probe("linear_probe", "ucf101", "train_1", "test_1"),
  "ucf101_knn": _probe("knn", "ucf101", "train_1", "test_1"),
  "hmdb51_linear": _probe("linear_probe", "hmdb51", "train_1", "test_1"),
  "diving48_linear": _probe("linear_probe", "diving48", "train", "test"),
  "coin_linear": _probe("linear_probe", "coin", "train", "test"),
  "breakfast_linear": _probe("linear_probe", "breakfast", "train_1", "test_1"),
  "imagenet_linear": _probe("linear_probe", "imagenet", "train", "val"),
  "davis_2017": _grouping("davis_2017", "davis_2017", split="val"),
  "mose": _grouping("mose", "mose", split="train"),
  "youtube_vis": _grouping("youtube_vis", "youtube_vis"),
  "kinetics400_frames": _reconstruction("kinetics400", "val"),
  "ucf101_frames": _reconstruction("ucf101", "test_1"),
}
