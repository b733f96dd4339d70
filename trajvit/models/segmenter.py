"""TrajTok's segmenter as a model of its own, to be trained from tracks."""

from flax import nnx

from trajvit.models.normalization import known_normalization, normalize
from trajvit.tokenizers.trajtok.pooling import slot_tokens
from trajvit.tokenizers.trajtok.segmenter import Segmenter, hard_assignment
from trajvit.types import Batch, Clip, Tokens


class SegmenterModel(nnx.Module):
  """Finds the trajectories of a clip; no tokenizer, encoder or text.

  Args:
    segmenter: frames -> Segmentation.
    normalization: of the frames, see `models.normalization`.
  """

  def __init__(self, segmenter: Segmenter, *, normalization: str = "symmetric"):
    self.segmenter = segmenter
    self.normalization = known_normalization(normalization)

  def __call__(self, batch: Batch, *, key=None) -> dict:
    """Returns the segmentation, where `video_text` has that of its tokenizer.

    Args:
      batch: `clip.frames` uint8; tracks and text are not read.
      key: given in training, when high-resolution logits are computed.

    Returns:
      tokens: M Tokens, the queries of the slots; masked without a cell.
      aux: {"tokenizer": {"logits", "assignment", and in training
        "high_logits" if the segmenter has them}}, see `SegmentTokenizer`.
    """
    tokens, aux = self._segment(batch.clip, train=key is not None)
    return {"tokens": tokens, "aux": {"tokenizer": aux}}

  def tokenize(self, clip: Clip) -> Tokens:
    """Returns the queries of the slots; `clip.frames` are uint8."""
    return self._segment(clip, train=False)[0]

  def _segment(self, clip, train):
    clip = normalize(clip, self.normalization)
    found = self.segmenter(clip.frames, clip.frame_mask, train=train)
    owner = hard_assignment(found.logits, clip.frame_mask)
    tokens = slot_tokens(found.queries, owner, self.segmenter.num_slots)
    return tokens, found.aux(owner)
