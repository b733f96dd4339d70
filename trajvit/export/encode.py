"""Embeddings of all clips of a source, in shards that are made once.

OUT/encoding.json                  of what, by which model, in which form
    features-00000-of-00012.npz    rows, see `feature_shards`
    features-00000-of-00012.json   a note: the shard is whole, who is missing
    index.json                     all notes, once all shards are there
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trajvit.data.build import build_source
from trajvit.data.example import ClipSpec
from trajvit.data.loader import Loader
from trajvit.data.part import Part
from trajvit.data.whole_files import read_json, replacing, sha256, write_json
from trajvit.evaluators.embed import embed
from trajvit.export.encoder import Encoder
from trajvit.export.feature_shards import SHARD_FORMATS
from trajvit.export.predict import as_predict
from trajvit.models.feature_net import weight_hash


@dataclasses.dataclass(frozen=True)
class Encoding:
  """How a source is encoded.

  Attributes:
    format: a name in SHARD_FORMATS.
    clips_per_shard: clips of a shard, those that cannot be read included.
    batch_size: clips that are encoded at once.
    num_threads: threads that read.
    process_index: of how many processes this is which; each makes every n-th
      shard.
    process_count: n.
  """

  format: str = "npz"
  clips_per_shard: int = 4096
  batch_size: int = 32
  num_threads: int = 2
  process_index: int = 0
  process_count: int = 1

  def __post_init__(self):
    SHARD_FORMATS[self.format]  # raises for an unknown name
    for name in ("clips_per_shard", "batch_size", "process_count"):
      if getattr(self, name) < 1:
        raise ValueError(
          f"{name} must be at least 1, got {getattr(self, name)}"
        )
    if not 0 <= self.process_index < self.process_count:
      raise ValueError(
        f"process_index must be in [0, {self.process_count}), "
        f"got {self.process_index}"
      )


def encode_source(
  encoder: Encoder,
  spec: dict,
  out: str | Path,
  encoding: Encoding,
  progress: Callable = lambda shards, total: shards,
) -> dict:
  """Writes the embeddings of a source; shards that are there are kept.

  Args:
    encoder: of an export or a run.
    spec: of the source, see `data.build_source`.
    out: the folder, made if it is missing.
    encoding: see Encoding.
    progress: wraps the iterator over this process's shards, of which it is told
      how many.

  Returns:
    What index.json holds, or would hold of the shards there are: `clips`,
    `missing` [[name, reason], ...] and `shards`, notes by file.

  Raises:
    ValueError: a folder with the embeddings of another source, model or form.
  """
  out = Path(out)
  out.mkdir(parents=True, exist_ok=True)
  data = encoder.config["training"]["data"]
  clip = ClipSpec(**data["clip"])
  source = build_source(spec, clip)
  count = -(-len(source) // encoding.clips_per_shard)
  _check_folder(
    out,
    {
      "source": spec,
      "source_hash": source.fingerprint(),
      "clips": len(source),
      "weights": weight_hash(encoder.weights),
      "step": encoder.config["step"],
      "format": encoding.format,
      "clips_per_shard": encoding.clips_per_shard,
    },
  )
  paths = [
    out / f"features-{k:05d}-of-{count:05d}.{encoding.format}"
    for k in range(count)
  ]
  own = range(encoding.process_index, count, encoding.process_count)
  predict, weights = as_predict(encoder)
  for k in progress(own, len(own)):
    if not _is_whole(paths[k]):
      start = k * encoding.clips_per_shard
      stop = min(start + encoding.clips_per_shard, len(source))
      loader = Loader(
        Part(source, start, stop),
        clip=clip,
        batch_size=encoding.batch_size,
        num_threads=encoding.num_threads,
      )
      _write(paths[k], embed(loader, predict, weights, ("video",)), encoding)
  notes = {
    path.name: read_json(_note(path)) for path in paths if _is_whole(path)
  }
  index = {
    "clips": sum(note["clips"] for note in notes.values()),
    "missing": [pair for note in notes.values() for pair in note["missing"]],
    "shards": notes,
  }
  if len(notes) == count:
    write_json(out / "index.json", index)
  return index


def needed_tracks(encoder: Encoder, source: type) -> dict:
  """Returns {"tracks": "none"} for a source that has them and no reader."""
  takes = "tracks" in source.__init__.__kwdefaults__
  if not takes or encoder.preprocessing["tracks"] is not None:
    return {}
  return {"tracks": "none"}


def _check_folder(out: Path, content: dict) -> None:
  """Raises ValueError if the folder holds other embeddings."""
  path = out / "encoding.json"
  if not path.exists():
    write_json(path, content)
    return
  found = read_json(path)
  differing = [
    f"{key} was {found.get(key)!r} and is {value!r}"
    for key, value in content.items()
    if found.get(key) != value
  ]
  if differing:
    raise ValueError(f"{out} holds other embeddings: {'; '.join(differing)}")


def _write(path: Path, features, encoding) -> None:
  """Writes a shard, then its note."""
  write, _ = SHARD_FORMATS[encoding.format]
  label = features.label
  if label is None:
    label = np.full(len(features), -1, np.int32)
  with replacing(path) as partial:
    write(
      partial,
      {
        "name": np.array(features.names, str),
        "clip_id": features.clip_id,
        "label": label,
        "embedding": features.outputs["video"],
      },
    )
  note = {
    "clips": len(features),
    "missing": [list(pair) for pair in features.missing],
    "bytes": path.stat().st_size,
    "sha256": sha256(path),
  }
  write_json(_note(path), note)


def _note(path: Path) -> Path:
  return path.with_suffix(".json")


def _is_whole(path: Path) -> bool:
  if not (path.exists() and _note(path).exists()):
    return False
  return read_json(_note(path)).get("bytes") == path.stat().st_size
