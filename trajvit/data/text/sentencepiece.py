"""Pieces of a SentencePiece model: the vocabularies of T5 and SigLIP."""

import hashlib

from trajvit.data.text.base import TextTokenizer
from trajvit.data.text.clean import clean_caption, clean_sentence
from trajvit.data.text.files import read_bytes
from trajvit.data.text.library import text_library

CLEAN = {False: str, True: clean_caption, "sentence": clean_sentence}


class SentencePieceTokenizer(TextTokenizer):
  """Pieces of a SentencePiece model, as T5 and SigLIP read captions.

  Source: SentencePiece, arXiv:1808.06226; T5, arXiv:1910.10683; SigLIP,
  arXiv:2303.15343, which writes captions in lower case, ends each with the end
  id also where it was cut, and pads with the same id. There is no start id.
  """

  def __init__(
    self,
    *,
    length: int,
    vocabulary_file: str,
    add_eos: bool = True,
    pad_id: int | None = None,
    lower: bool = False,
    clean: bool | str = False,
  ):
    """Reads the model.

    Args:
      length: L.
      vocabulary_file: the `.model` file.
      add_eos: ends a caption with the model's end id.
      pad_id: the id of padding, which the mask leaves out; None takes the
        model's.
      lower: turns captions into lower case.
      clean: True applies `clean_caption` first, which also does that, and
        "sentence" `clean_sentence`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no such model; the model lacks the end id or the padding
        that is asked for; `clean` is something else; or the library
        `sentencepiece` is not there.
    """
    if clean not in CLEAN:
      raise ValueError(f"clean must be a bool or 'sentence', got {clean!r}")
    library = text_library("sentencepiece")
    data = read_bytes(vocabulary_file)
    model = library.SentencePieceProcessor()
    try:
      model.LoadFromSerializedProto(data)
    except RuntimeError as error:
      raise ValueError(
        f"{vocabulary_file}: expected a SentencePiece model: {error}"
      ) from error
    if add_eos and model.eos_id() < 0:
      raise ValueError(
        f"{vocabulary_file}: the model has no end id: set add_eos=False"
      )
    pad_id = model.pad_id() if pad_id is None else pad_id
    if not 0 <= pad_id < model.vocab_size():
      raise ValueError(
        f"{vocabulary_file}: pad_id must be in [0, {model.vocab_size()}), got "
        f"{pad_id}; a model that has no padding says -1"
      )
    super().__init__(
      length=length,
      end_id=model.eos_id() if add_eos else None,
      pad_id=pad_id,
    )
    self._model, self._lower, self._clean = model, lower, clean
    self._digest = hashlib.sha256(data).hexdigest()
    self.vocab_size = model.vocab_size()

  def words(self, caption):
    """The ids of the pieces; none is an end id, whatever the caption says."""
    caption = CLEAN[self._clean](caption)
    return self._model.encode(caption.lower() if self._lower else caption)

  def content(self):
    """The model, the padding, and what is done to captions first."""
    return [self._digest, self._pad_id, self._lower, self._clean]
