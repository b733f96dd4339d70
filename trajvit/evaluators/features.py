"""What a model made of the clips of a source, ready to be scored."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Features:
  """Outputs for n clips and m captions of theirs, in NumPy.

  Attributes:
    outputs: by name; "text" [m, E] float32, "tokens" [n, N, D] float16 with
      "tokens_mask" [n, N] bool, all others [n, ...] float32.
    clip_id: [n] int32; clips with equal ids match each other's captions.
    label: [n] int32, -1 = unknown; or None where the source has no labels.
    place: [n] int64, of a clip in its source, missing ones counted.
    names: of the clips.
    caption_clip: [m] int64, which of the n clips a caption is of.
    missing: (name, reason) of the clips that could not be read.
    captions_cut: captions that the loader left out.
    captions_shortened: captions that lost their end.
    overflow_tokens: tokens that the rows of a packed encoder had no slot for;
      where it is not 0, the clips of a batch matter to each other.
    labels: all classes of each clip, of data where one may have several or
      none; or None where the loader does not tell.
    prompts: texts that are no captions, all different.
    prompt_vectors: [len(prompts), E] float32, their embeddings; or None.
    prompts_shortened: prompts that lost their end.
  """

  outputs: dict[str, np.ndarray]
  clip_id: np.ndarray
  label: np.ndarray | None
  place: np.ndarray
  names: tuple[str, ...]
  caption_clip: np.ndarray
  missing: tuple[tuple[str, str], ...] = ()
  captions_cut: int = 0
  captions_shortened: int = 0
  overflow_tokens: int = 0
  labels: tuple[tuple[int, ...], ...] | None = None
  prompts: tuple[str, ...] = ()
  prompt_vectors: np.ndarray | None = None
  prompts_shortened: int = 0

  def __len__(self) -> int:
    """The number of clips."""
    return len(self.clip_id)

  def finite(self, name: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Returns an output, of all clips or those in `rows`, that is finite.

    Raises:
      ValueError: the output was not asked for.
      FloatingPointError: it is not finite; the message names the first clip.
    """
    if name not in self.outputs:
      raise ValueError(
        f"the features have no {name!r}, but {', '.join(self.outputs)}"
      )
    found = self.outputs[name]
    owners = self.caption_clip if name == "text" else np.arange(len(self))
    if rows is not None:
      found, owners = found[rows], owners[rows]
    bad = ~np.isfinite(found).all(tuple(range(1, found.ndim)))
    if bad.any():
      raise FloatingPointError(
        f"{name} of {bad.sum()} of {len(found)} is not finite, first that of "
        f"{self.names[owners[bad][0]]}"
      )
    return found

  def prompted(self, texts: Sequence[str]) -> np.ndarray:
    """Returns the embeddings of prompts, [len(texts), E] float32.

    Raises:
      ValueError: one of them was not asked for.
      FloatingPointError: an embedding is not finite; the message names it.
    """
    place = {prompt: i for i, prompt in enumerate(self.prompts)}
    unknown = [text for text in texts if text not in place]
    if unknown:
      raise ValueError(
        f"the features lack {len(unknown)} of {len(texts)} prompts, first "
        f"{unknown[0]!r}"
      )
    found = self.prompt_vectors[[place[text] for text in texts]]
    bad = ~np.isfinite(found).all(1)
    if bad.any():
      raise FloatingPointError(
        f"{bad.sum()} of {len(texts)} prompts are not finite, first "
        f"{texts[bad.argmax()]!r}"
      )
    return found


def known_labels(features: Features, what: str) -> np.ndarray:
  """Returns [n] bool, the clips whose class is known.

  Args:
    features: of n clips.
    what: needs them, for the message.

  Raises:
    ValueError: the source has no labels.
  """
  if features.label is None:
    raise ValueError(f"{what} needs batch.label, got None")
  return features.label >= 0
