"""From the clips of a source to Features: one pass, whoever asks."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable

import jax
import numpy as np

from trajvit.evaluators.features import Features
from trajvit.evaluators.made_frames import valid_clips, with_budget
from trajvit.evaluators.views import averaged
from trajvit.types import Batch

# What can be asked for -> the output of the model. "video@4" is "video" of the
# first 4 nested tokens of a step.
OUTPUTS = {
  "video": "video_embedding",
  "text": "text_embedding",
  "logits": "logits",
}


def embed(loader, predict, variables: dict, wanted: Iterable[str]) -> Features:
  """Returns what a model makes of all clips of a loader that can be read.

  Where the loader shows several views of a clip, they are averaged to one row.

  Args:
    loader: `evaluate()` yields (Batch, BatchInfo); with "text", word ids are
      [B, C, L].
    predict: `(variables, batch) -> outputs`. Compiled once for every `predict`,
      so hand in the same one again.
    variables: of the model.
    wanted: names in OUTPUTS, each alone or with "@" and a budget.

  Raises:
    ValueError: an unknown name; text is wanted and there is none, or its
      embeddings have another shape than its captions.
  """
  wanted = sorted(set(wanted))
  asked = {name: _parse(name) for name in wanted}
  found = {name: [] for name in wanted}
  clips, captions, missing = [], [], []
  seen = rows = overflow = shortened = 0
  with contextlib.closing(loader.evaluate()) as batches:
    for batch, info in batches:
      valid = valid_clips(batch)
      slots = _captions(batch, valid) if "text" in wanted else None
      made, lost = _made(predict, variables, batch, asked)
      if slots is not None:
        _check_text(made["text"], batch.text.mask)
      for name, output in made.items():
        found[name].append(output[slots] if name == "text" else output[valid])
      if slots is not None:
        order = np.cumsum(valid) - 1  # of a row among the valid ones
        captions.append(rows + order[slots[0]])
      clips.append(_of_clips(batch, info, valid, seen))
      seen += len(valid)
      rows += int(valid.sum())
      missing += info.skipped
      overflow += lost
      shortened += getattr(info, "captions_shortened", 0)
  ids, labels, places, names = zip(*clips, strict=True) if clips else [()] * 4
  features = Features(
    outputs={name: _joined(parts) for name, parts in found.items()},
    clip_id=_joined(ids, np.int32),
    label=_all_or_none(labels),
    place=_joined(places, np.int64),
    names=tuple(name for part in names for name in part),
    caption_clip=_joined(captions, np.int64),
    missing=tuple(missing),
    captions_cut=getattr(loader, "captions_cut", 0),
    captions_shortened=shortened,
    overflow_tokens=overflow,
  )
  views = getattr(loader, "views", 1)
  return averaged(features, views) if views > 1 else features


def _parse(name: str) -> tuple[str, int | None]:
  """The output and the budget that a name asks for."""
  kind, at, budget = name.partition("@")
  if kind not in OUTPUTS or (at and not budget.isdecimal()):
    raise ValueError(f"expected one of {', '.join(OUTPUTS)}, got {name!r}")
  return OUTPUTS[kind], int(budget) if budget else None


def _made(predict, variables, batch, asked):
  """Outputs [B, ...] by name, and tokens lost; a forward for every budget."""
  if "text" not in asked:
    batch = dataclasses.replace(batch, text=None)
  made, overflow = {}, 0
  for budget in sorted({b for _, b in asked.values()}, key=lambda b: b or 0):
    names = {name: out for name, (out, b) in asked.items() if b == budget}
    outputs, lost = jax.device_get(
      _outputs(
        predict,
        tuple(sorted(set(names.values()))),
        variables,
        with_budget(batch, budget),
      )
    )
    made |= {name: outputs[out] for name, out in names.items()}
    overflow += int(lost)
  return made, overflow


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(predict, names, variables, batch):
  outputs = predict(variables, batch)
  absent = [name for name in names if name not in outputs]
  if absent:
    raise ValueError(
      f"the model gives no {', '.join(absent)}; it gives "
      f"{', '.join(sorted(outputs))}"
    )
  lost = outputs.get("metrics", {}).get("packing/overflow_tokens", 0)
  return {name: outputs[name] for name in names}, lost


def _captions(batch: Batch, valid) -> tuple[np.ndarray, np.ndarray]:
  """Rows and slots of the real captions."""
  if batch.text is None:
    raise ValueError("text embeddings need batches with text, got none")
  if batch.text.mask.ndim != 3:
    raise ValueError(f"captions must be [B, C, L], got {batch.text.mask.shape}")
  return np.nonzero(np.asarray(batch.text.mask).any(-1) & valid[:, None])


def _check_text(embeddings, mask) -> None:
  """Raises ValueError unless every caption has an embedding."""
  if embeddings.ndim != 3 or embeddings.shape[:2] != mask.shape[:2]:
    raise ValueError(
      f"captions {mask.shape} must have embeddings {(*mask.shape[:2], 'E')}, "
      f"got {embeddings.shape}"
    )


def _of_clips(batch, info, valid, seen):
  """Ids, labels, places and names of the clips of a batch."""
  label = batch.label
  names = np.array(info.names, object)[valid]
  return (
    np.asarray(batch.clip_id)[valid],
    None if label is None else np.asarray(label)[valid],
    seen + np.flatnonzero(valid),
    tuple(names.tolist()),
  )


def _joined(parts, dtype=np.float32) -> np.ndarray:
  parts = list(parts)
  return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _all_or_none(labels) -> np.ndarray | None:
  """The labels of all batches, or None where they have none."""
  absent = any(part is None for part in labels)
  return None if absent else _joined(labels, np.int32)
