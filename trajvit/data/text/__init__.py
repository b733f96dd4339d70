"""Captions to ids: text tokenizers with one interface, `base.TextTokenizer`.

`words` and `bytes` need nothing; the others read the vocabulary file of a
published model, through libraries that `pip install 'trajvit[text]'` brings.
"""

from trajvit.data.text.base import TextTokenizer
from trajvit.data.text.byte_pair import BytePairTokenizer
from trajvit.data.text.bytes import ByteTokenizer
from trajvit.data.text.clean import clean_caption
from trajvit.data.text.sentencepiece import SentencePieceTokenizer
from trajvit.data.text.wordpiece import WordPieceTokenizer
from trajvit.data.text.words import WordTokenizer
from trajvit.table import Table

TEXT_TOKENIZERS = Table(
  "text tokenizer",
  {
    "byte_pair": BytePairTokenizer,
    "bytes": ByteTokenizer,
    "sentencepiece": SentencePieceTokenizer,
    "wordpiece": WordPieceTokenizer,
    "words": WordTokenizer,
  },
)

__all__ = [
  "TEXT_TOKENIZERS",
  "BytePairTokenizer",
  "ByteTokenizer",
  "SentencePieceTokenizer",
  "TextTokenizer",
  "WordPieceTokenizer",
  "WordTokenizer",
  "clean_caption",
]
