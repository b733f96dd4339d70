"""From the clips of a source to Features: one pass, whoever asks."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from trajvit.evaluators.features import Features
from trajvit.evaluators.made_frames import valid_clips, with_budget
from trajvit.evaluators.views import averaged
from trajvit.types import Batch, Clip, Text

# What can be asked for -> the output of the model. "video@4" is "video" of the
# first 4 nested tokens of a step. Tokens are many: they are kept in float16.
OUTPUTS = {
  "video": "video_embedding",
  "text": "text_embedding",
  "logits": "logits",
  "tokens": "encoded",
  "tokens_mask": "encoded",
}
_READ = {
  "tokens": lambda tokens: tokens.features.astype(jnp.float16),
  "tokens_mask": lambda tokens: tokens.mask,
}


def embed(
  loader,
  predict,
  variables: dict,
  wanted: Iterable[str],
  prompts: Iterable[str] = (),
) -> Features:
  """Returns what a model makes of all clips of a loader that can be read.

  Where the loader shows several views of a clip, they are averaged to one row.

  Args:
    loader: `evaluate()` yields (Batch, BatchInfo); with "text", word ids are
      [B, C, L].
    predict: `(variables, batch) -> outputs`. Compiled once for every `predict`,
      so hand in the same one again.
    variables: of the model.
    wanted: names in OUTPUTS, each alone or with "@" and a budget.
    prompts: texts to embed besides, see `embed_texts`.

  Raises:
    ValueError: an unknown name; text is wanted and there is none, or its
      embeddings have another shape than its captions; what is wanted does not
      fit into the memory of this machine; or as `embed_texts`.
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
      if not seen:
        _check_room(made, getattr(loader, "num_eval_batches", 1))
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
  ids, label, places, names, labels = (
    zip(*clips, strict=True) if clips else [()] * 5
  )
  prompts, vectors, cut = tuple(dict.fromkeys(prompts)), None, 0
  if prompts:
    vectors, cut = embed_texts(loader, predict, variables, prompts)
  features = Features(
    outputs={name: _joined(parts) for name, parts in found.items()},
    clip_id=_joined(ids, np.int32),
    label=_all_or_none(label),
    place=_joined(places, np.int64),
    names=tuple(name for part in names for name in part),
    caption_clip=_joined(captions, np.int64),
    missing=tuple(missing),
    captions_cut=getattr(loader, "captions_cut", 0),
    captions_shortened=shortened,
    overflow_tokens=overflow,
    labels=None if None in labels else sum(labels, ()),
    prompts=prompts,
    prompt_vectors=vectors,
    prompts_shortened=cut,
  )
  views = getattr(loader, "views", 1)
  return averaged(features, views) if views > 1 else features


def embed_both(
  evaluator, predict, variables: dict
) -> tuple[Features, Features | None]:
  """Returns what an evaluator scores: of its clips, and of those to train on.

  Args:
    evaluator: has `loader`, `wanted` and `train_loader`, which may be None.
    predict: as for `embed`.
    variables: of the model.
  """
  wanted, train = evaluator.wanted, evaluator.train_loader
  tested = embed(evaluator.loader, predict, variables, wanted)
  if train is None:
    return tested, None
  return tested, embed(train, predict, variables, wanted)


def embed_texts(
  loader, predict, variables: dict, texts: Sequence[str], *, chunk: int = 256
) -> tuple[np.ndarray, int]:
  """Returns the embeddings of texts that belong to no clip.

  They are given to the model as the captions of one blank clip. Of that the
  text tower reads nothing, so that the compiler leaves out the rest.

  Args:
    loader: its `text` encodes, and its `clip` tells how a clip looks.
    predict: as for `embed`.
    variables: of the model.
    texts: at least one.
    chunk: how many are embedded at once.

  Returns:
    [len(texts), E] float32, and how many texts lost their end.

  Raises:
    ValueError: the loader encodes no text, there is none, or one is empty.
  """
  if getattr(loader, "text", None) is None:
    raise ValueError("texts cannot be embedded: data.text encodes none")
  if not texts:
    raise ValueError("expected texts to embed, got none")
  encoded = [loader.text.encode_counted(text) for text in texts]
  empty = [t for t, e in zip(texts, encoded, strict=True) if not e[1].any()]
  if empty:
    raise ValueError(f"a text must have a word, got {empty[0]!r}")
  blank = _blank_clip(loader.clip)
  shape = 1, chunk, len(encoded[0][0])
  parts = []
  for start in range(0, len(texts), chunk):
    rows = encoded[start : start + chunk]
    ids, mask = np.zeros(shape, np.int32), np.zeros(shape, bool)
    for slot, (words, real, _) in enumerate(rows):
      ids[0, slot], mask[0, slot] = words, real
    outputs, _ = jax.device_get(
      _outputs(
        predict,
        ("text",),
        variables,
        Batch(clip=blank, text=Text(ids, mask)),
      )
    )
    _check_text(outputs["text"], mask)
    parts.append(outputs["text"][0, : len(rows)])
  return np.concatenate(parts), sum(bool(lost) for *_, lost in encoded)


def _blank_clip(spec) -> Clip:
  """One clip of zeros and no track, as a ClipSpec says."""
  grid = (1, spec.frames, spec.track_grid, spec.track_grid)
  return Clip(
    frames=np.zeros((1, spec.frames, spec.size, spec.size, 3), np.uint8),
    frame_mask=np.ones((1, spec.frames), bool),
    times=np.zeros((1, spec.frames), np.float32),
    tracks=np.full(grid, -1, np.int32),
  )


def _parse(name: str) -> tuple[str, int | None]:
  """The output and the budget that a name asks for."""
  kind, at, budget = name.partition("@")
  if kind not in OUTPUTS or (at and not budget.isdecimal()):
    raise ValueError(f"expected one of {', '.join(OUTPUTS)}, got {name!r}")
  return kind, int(budget) if budget else None


def _made(predict, variables, batch, asked):
  """Outputs [B, ...] by name, and tokens lost; a forward for every budget."""
  if "text" not in asked:
    batch = dataclasses.replace(batch, text=None)
  made, overflow = {}, 0
  for budget in sorted({b for _, b in asked.values()}, key=lambda b: b or 0):
    names = {name: kind for name, (kind, b) in asked.items() if b == budget}
    outputs, lost = jax.device_get(
      _outputs(
        predict,
        tuple(sorted(set(names.values()))),
        variables,
        with_budget(batch, budget),
      )
    )
    made |= {name: outputs[kind] for name, kind in names.items()}
    overflow += int(lost)
  return made, overflow


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(predict, kinds, variables, batch):
  outputs = predict(variables, batch)
  absent = sorted({OUTPUTS[kind] for kind in kinds} - outputs.keys())
  if absent:
    raise ValueError(
      f"the model gives no {', '.join(absent)}; it gives "
      f"{', '.join(sorted(outputs))}"
    )
  lost = outputs.get("metrics", {}).get("packing/overflow_tokens", 0)
  found = {kind: outputs[OUTPUTS[kind]] for kind in kinds}
  return {k: _READ[k](x) if k in _READ else x for k, x in found.items()}, lost


def _captions(batch: Batch, valid) -> tuple[np.ndarray, np.ndarray]:
  """Rows and slots of the real captions."""
  if batch.text is None:
    raise ValueError("text embeddings need batches with text, got none")
  if batch.text.mask.ndim != 3:
    raise ValueError(f"captions must be [B, C, L], got {batch.text.mask.shape}")
  return np.nonzero(np.asarray(batch.text.mask).any(-1) & valid[:, None])


def _check_room(made, batches) -> None:
  """Raises ValueError if so many batches do not fit into memory."""
  size = batches * sum(output.nbytes for output in made.values())
  memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  if size > memory:
    raise ValueError(
      f"{', '.join(sorted(made))} of all clips take {size / 1e9:.0f} GB, and "
      f"this machine has {memory / 1e9:.0f} GB: evaluate fewer clips"
    )


def _check_text(embeddings, mask) -> None:
  """Raises ValueError unless every caption has an embedding."""
  if embeddings.ndim != 3 or embeddings.shape[:2] != mask.shape[:2]:
    raise ValueError(
      f"captions {mask.shape} must have embeddings {(*mask.shape[:2], 'E')}, "
      f"got {embeddings.shape}"
    )


def _of_clips(batch, info, valid, seen):
  """Ids, label, places, names and all labels of the clips of a batch."""
  label, labels = batch.label, getattr(info, "labels", None)
  names = np.array(info.names, object)[valid]
  return (
    np.asarray(batch.clip_id)[valid],
    None if label is None else np.asarray(label)[valid],
    seen + np.flatnonzero(valid),
    tuple(names.tolist()),
    None if labels is None else tuple(labels[i] for i in np.flatnonzero(valid)),
  )


def _joined(parts, dtype=np.float32) -> np.ndarray:
  parts = list(parts)
  return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _all_or_none(labels) -> np.ndarray | None:
  """The labels of all batches, or None where they have none."""
  absent = any(part is None for part in labels)
  return None if absent else _joined(labels, np.int32)
