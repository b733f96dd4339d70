"""Features kept in files, so that clips are decoded and embedded once."""

import dataclasses
import json
import zipfile
import zlib
from pathlib import Path

import numpy as np

from trajvit.data.whole_files import replacing
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features

_ARRAYS = ("clip_id", "label", "place", "caption_clip", "prompt_vectors")
_OUTPUT = "output/"


class FeatureFiles:
  """Does what `embed` does, and remembers it in a folder.

  A file is for the clips of one loader, as they are sampled, cropped and
  captioned: its name tells which. It holds what any evaluator has asked for so
  far, and which model made it.
  """

  def __init__(self, directory: str | Path, model: dict | None):
    """Opens no file yet.

    Args:
      directory: the folder.
      model: tells this model's features from those of others, JSON values; None
        takes what is there, whatever made it.
    """
    self._directory, self._model = Path(directory), model

  def __call__(
    self, loader, predict, variables, wanted, prompts=()
  ) -> Features:
    """Returns features from the file, or makes and keeps them.

    Args:
      loader: see `embed`.
      predict: likewise; None where there is no model to make features.
      variables: likewise.
      wanted: likewise.
      prompts: likewise.

    Raises:
      ValueError: the file is damaged, of another model, or lacks something that
        cannot be made.
    """
    path = self._directory / (
      f"{loader.fingerprint()}-{loader.captions}-captions-"
      f"{loader.views}-views.npz"
    )
    kept, wanted, prompts = None, set(wanted), set(prompts)
    if path.exists():
      kept, model = read_features(path)
      if self._model not in (None, model):
        raise ValueError(
          f"{path} has features of the model {model}, not of {self._model}"
        )
      lacking = sorted(wanted - kept.outputs.keys())
      lacking += sorted(prompts - set(kept.prompts))
      if not lacking:
        return kept
      wanted |= {name for name in kept.outputs if not name.endswith("_mask")}
      prompts |= set(kept.prompts)
    else:
      lacking = sorted(wanted)
    if predict is None:
      raise ValueError(
        f"{path}: there are no features {', '.join(lacking)}, and no model to "
        "make them"
      )
    features = embed(loader, predict, variables, wanted, sorted(prompts))
    write_features(path, features, self._model)
    return features


def write_features(path: Path, features: Features, model: dict | None) -> None:
  """Writes features to a file that is there in whole or not at all.

  Args:
    path: ends in .npz.
    features: what is written.
    model: see FeatureFiles.
  """
  values = dict(vars(features))
  outputs = values.pop("outputs")
  arrays = {name: values.pop(name) for name in _ARRAYS}
  arrays = {name: x for name, x in arrays.items() if x is not None}
  arrays |= {f"{_OUTPUT}{name}": x for name, x in outputs.items()}
  text = json.dumps({"model": model, **values}).encode()
  path.parent.mkdir(parents=True, exist_ok=True)
  with replacing(path) as partial, open(partial, "wb") as file:
    np.savez(file, info=np.frombuffer(text, np.uint8), **arrays)


def read_features(path: Path) -> tuple[Features, dict | None]:
  """Returns the features in a file and the model that made them.

  Raises:
    ValueError: it is no such file.
  """
  try:
    with np.load(path, allow_pickle=False) as archive:
      arrays = {name: archive[name] for name in archive.files}
    info = json.loads(arrays.pop("info").tobytes())
    model = info.pop("model")
    outputs = {
      name.removeprefix(_OUTPUT): arrays.pop(name)
      for name in list(arrays)
      if name.startswith(_OUTPUT)
    }
    arrays.setdefault("label", None)
    info["missing"] = tuple(map(tuple, info["missing"]))
    for name in ("names", "prompts"):
      info[name] = tuple(info[name])
    if info["labels"] is not None:
      info["labels"] = tuple(map(tuple, info["labels"]))
    features = Features(outputs=outputs, **arrays, **info)
    _check(features)
  except (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
  ) as error:
    raise ValueError(f"{path} is no file of features: {error}") from error
  return features, model


def _check(features: Features) -> None:
  """Raises ValueError unless all parts are of as many clips and captions."""
  counts = {
    name: len(x) for name, x in features.outputs.items() if name != "text"
  }
  counts |= {
    field.name: len(getattr(features, field.name))
    for field in dataclasses.fields(features)
    if field.name in ("label", "labels", "place", "names")
    and getattr(features, field.name) is not None
  }
  unlike = {name for name, count in counts.items() if count != len(features)}
  texts = len(features.outputs.get("text", features.caption_clip))
  if unlike or texts != len(features.caption_clip):
    raise ValueError(
      f"{len(features)} clips and {len(features.caption_clip)} captions, but "
      f"{counts} and {texts} text features"
    )
