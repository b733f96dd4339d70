"""From the `data` part of a config to a loader."""

import dataclasses

from trajvit.data.augment.mix import Mixing
from trajvit.data.benchmarks.source import BenchmarkFiles
from trajvit.data.example import ClipSpec, Source
from trajvit.data.formats import ArrayRecordClips, TarClips, TfdsClips
from trajvit.data.loader import Loader
from trajvit.data.mixture import Mixture
from trajvit.data.packing import Packing
from trajvit.data.segmentation import (
  Davis2017,
  Mose,
  SaV,
  SaVTrain,
  YouTubeVis,
)
from trajvit.data.shapes import batch_shapes, model_context
from trajvit.data.synthetic import MovingSprites
from trajvit.data.text import TEXT_TOKENIZERS
from trajvit.data.video_files import VideoFiles
from trajvit.table import Table, check_arguments
from trajvit.types import Batch

SOURCES = Table(
  "source",
  {
    "array_record": ArrayRecordClips,
    "benchmark": BenchmarkFiles,
    "davis_2017": Davis2017,
    "mixture": Mixture,
    "mose": Mose,
    "moving_sprites": MovingSprites,
    "sa_v": SaV,
    "sa_v_train": SaVTrain,
    "tfds": TfdsClips,
    "video_files": VideoFiles,
    "webdataset": TarClips,
    "youtube_vis": YouTubeVis,
  },
)

_DATA = ("batch_size", "clip", "text", "packing", "mix", "train", "loader")
_LOADER = (
  "num_threads",
  "num_workers",
  "prefetch",
  "failure_budget",
  "budget_after",
)


def build_loader(
  data: dict,
  source: dict,
  *,
  seed: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Loader:
  """Builds the loader of one source of a run, for training or evaluation.

  Args:
    data: what all sources of the run share. `batch_size`; `clip`, a ClipSpec;
      `text`, a spec of TEXT_TOKENIZERS, or None or left out for no text;
      `packing`, arguments of Packing, or None or left out for no layout;
      `mix`, arguments of Mixing, or None or left out for whole clips;
      `loader`, arguments of Loader: num_threads, num_workers, prefetch,
      failure_budget and budget_after; `train`, the source to train on, which is
      not read here.
    source: a spec of SOURCES, whose name may be left out if it has a
      `manifest`. Four keys are not the source's own: `clip` overrides entries
      of `data["clip"]`, `batch_size` that of `data`, `captions` is C, and
      `views` those of an evaluation.
    seed: of the order, see Loader.
    process_index: which slice of every batch to yield.
    process_count: how many slices there are; 1 yields whole batches.

  Raises:
    ValueError: something is missing, unknown or read by nobody.
  """
  source, parts = _read(data, source)
  return Loader(
    build_source(source, parts["clip"]),
    seed=seed,
    process_index=process_index,
    process_count=process_count,
    **parts,
    **(data.get("loader") or {}),
  )


def build_source(spec: dict, clip: ClipSpec) -> Source:
  """Builds what a loader reads.

  Args:
    spec: of SOURCES; the name may be left out if there is a `manifest`. A part
      of a mixture may override entries of `clip` by a `clip` of its own.
    clip: how every clip of the run looks.

  Raises:
    ValueError: something is missing, unknown or read by nobody.
  """
  spec = _named(spec)
  clip = _clip_spec({**vars(clip), **(spec.pop("clip", None) or {})})
  return SOURCES.build(
    spec,
    clip=clip,
    build_source=lambda part: build_source(part, clip),
  )


def data_shapes(data: dict) -> tuple[dict, Batch]:
  """Returns what a training loader would tell, without the files it reads.

  Args:
    data: as for `build_loader`. Of its `train`, no file is opened; captions are
      taken to be there where there is a `text` to encode them.

  Returns:
    `model_context` as a loader has it, and the global batch of training as
    ShapeDtypeStructs.

  Raises:
    ValueError: something is missing, unknown or read by nobody.
  """
  source, parts = _read(data, data["train"])
  members = list(_members(source))
  captioned = any(getattr(entry, "has_captions", True) for entry, _ in members)
  shapes = batch_shapes(
    clip=parts["clip"],
    text=parts["text"] if captioned else None,
    packing=parts["packing"],
    mixed=parts["mixing"] is not None,
    batch_size=parts["batch_size"],
    tracks=members[0][1].get("tracks") != "none",
  )
  return model_context(parts["clip"], parts["text"]), shapes


def _members(spec: dict):
  """Yields (entry of SOURCES, its arguments) of a source or all of a mixture.

  Raises:
    ValueError: an unknown name, or an argument that an entry does not take.
  """
  spec = _named(spec)
  name = spec.pop("name", None)
  entry = SOURCES[name]
  check_arguments(f"source {name!r}", entry, spec)
  if entry is not Mixture:
    yield entry, spec
    return
  for part in spec.get("sources", ()):
    part = {k: part[k] for k in part if k not in ("clip", "weight")}
    yield from _members(part)


def _named(spec: dict) -> dict:
  """A copy of a spec whose name is there also if its manifest tells it."""
  spec = dict(spec)
  if "manifest" in spec:
    spec.setdefault("name", "video_files")
  return spec


def _read(data, source):
  """The spec of a source, and the arguments of Loader that `data` decides."""
  _only("data", data, _DATA)
  _only("data.loader", data.get("loader") or {}, _LOADER)
  for key in ("batch_size", "clip"):
    if key not in data:
      raise ValueError(f"data needs {key!r}, got {', '.join(data)}")
  source = dict(source)
  clip = _clip_spec({**data["clip"], **(source.pop("clip", None) or {})})
  batch_size = source.pop("batch_size", data["batch_size"])
  captions, views = source.pop("captions", 1), source.pop("views", (1, 1))
  text, packing = data.get("text"), data.get("packing")
  if packing:
    check_arguments("data.packing", Packing, packing)
  mix = data.get("mix")
  if mix is not None:
    check_arguments("data.mix", Mixing, mix)
  return source, dict(
    clip=clip,
    text=TEXT_TOKENIZERS.build(text) if text else None,
    packing=Packing(**packing) if packing else None,
    mixing=None if mix is None else Mixing(**mix),
    batch_size=batch_size,
    captions=captions,
    views=views,
  )


def _clip_spec(values: dict) -> ClipSpec:
  """Returns the ClipSpec, or raises ValueError for keys it does not take."""
  check_arguments("data.clip", ClipSpec, values)
  missing = [
    field.name
    for field in dataclasses.fields(ClipSpec)
    if field.default is dataclasses.MISSING and field.name not in values
  ]
  if missing:
    raise ValueError(f"data.clip needs {', '.join(map(repr, missing))}")
  return ClipSpec(**values)


def _only(what: str, values: dict, known: tuple[str, ...]) -> None:
  """Raises ValueError for a key of `values` that is not known."""
  unread = sorted(set(values) - set(known))
  if unread:
    raise ValueError(
      f"{what} reads no {', '.join(map(repr, unread))}; "
      f"it takes {', '.join(known)}"
    )
