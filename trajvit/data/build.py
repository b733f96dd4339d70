"""From the `data` part of a config to a loader."""

import dataclasses

from trajvit.data.example import ClipSpec
from trajvit.data.loader import Loader
from trajvit.data.packing import Packing
from trajvit.data.segmentation import Davis2017, Mose, YouTubeVis
from trajvit.data.shapes import batch_shapes, model_context
from trajvit.data.synthetic import MovingSprites
from trajvit.data.text import TEXT_TOKENIZERS
from trajvit.data.video_files import VideoFiles
from trajvit.table import Table, check_arguments
from trajvit.types import Batch

SOURCES = Table(
  "source",
  {
    "davis_2017": Davis2017,
    "mose": Mose,
    "moving_sprites": MovingSprites,
    "video_files": VideoFiles,
    "youtube_vis": YouTubeVis,
  },
)

_DATA = ("batch_size", "clip", "text", "packing", "train", "loader")
_LOADER = ("num_threads", "prefetch", "failure_budget", "budget_after")


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
      `loader`, arguments of Loader: num_threads, prefetch, failure_budget and
      budget_after; `train`, the source to train on, which is not read here.
    source: a spec of SOURCES, whose name may be left out if it has a
      `manifest`. Three keys are not the source's own: `clip` overrides entries
      of `data["clip"]`, `batch_size` that of `data`, and `captions` is C.
    seed: of the order, see Loader.
    process_index: which slice of every batch to yield.
    process_count: how many slices there are; 1 yields whole batches.

  Raises:
    ValueError: something is missing, unknown or read by nobody.
  """
  source, parts = _read(data, source)
  return Loader(
    SOURCES.build(source, clip=parts["clip"]),
    seed=seed,
    process_index=process_index,
    process_count=process_count,
    **parts,
    **(data.get("loader") or {}),
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
  name = source.pop("name", None)
  entry = SOURCES[name]
  check_arguments(f"source {name!r}", entry, source)
  shapes = batch_shapes(
    clip=parts["clip"],
    text=parts["text"] if getattr(entry, "has_captions", True) else None,
    packing=parts["packing"],
    batch_size=parts["batch_size"],
    tracks=source.get("tracks") != "none",
  )
  return model_context(parts["clip"], parts["text"]), shapes


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
  captions = source.pop("captions", 1)
  if "manifest" in source:
    source.setdefault("name", "video_files")
  text, packing = data.get("text"), data.get("packing")
  if packing:
    check_arguments("data.packing", Packing, packing)
  return source, dict(
    clip=clip,
    text=TEXT_TOKENIZERS.build(text) if text else None,
    packing=Packing(**packing) if packing else None,
    batch_size=batch_size,
    captions=captions,
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
