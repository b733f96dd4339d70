"""An exported encoder as evaluators know a model: a function of a batch."""

from collections.abc import Callable

from trajvit.export.encoder import Encoder
from trajvit.types import Batch


def as_predict(encoder: Encoder) -> tuple[Callable, dict]:
  """Returns `predict(variables, batch) -> outputs`, and the variables.

  Args:
    encoder: of an export that gives embeddings.

  Returns:
    A function whose outputs are `video_embedding` [B, E], and with text
    `text_embedding` [B, C, E]; and the weights to call it with.

  Raises:
    ValueError: from the function, a batch without the tracks that it reads, or
      one that asks for a budget of tokens, which an export does not have.
  """
  tracks = encoder.preprocessing["tracks"]

  def predict(variables, batch: Batch) -> dict:
    if batch.budget is not None:
      raise ValueError("an export gives all tokens, and the batch has a budget")
    inputs = [batch.clip.frames]
    if tracks is not None:
      if batch.clip.tracks is None:
        raise ValueError("this encoder reads tracks, and the batch has none")
      inputs.append(batch.clip.tracks)
    outputs = {"video_embedding": encoder.program("encode")(variables, *inputs)}
    if batch.text is not None:
      ids, mask = batch.text.ids, batch.text.mask
      flat = (x.reshape(-1, ids.shape[-1]) for x in (ids, mask))
      embedding = encoder.program("encode_text")(variables, *flat)
      outputs["text_embedding"] = embedding.reshape(*ids.shape[:-1], -1)
    return outputs

  return predict, encoder.weights
