"""Tiny vocabulary files, one of each format, made on the spot."""

import gzip
import io
import json

import sentencepiece

# fmt: off
PIECES = [
  "[PAD]", "[UNK]", "[CLS]", "[SEP]",  # 0 to 3
  "un", "##aff", "##able", "##a", "the", "cafe", "##s", ",", "!",  # 4 to 12
  "run", "##ning", "##n", "runn", "東", "京", "-",  # 13 to 19
]
MERGES = [
  "a t</w>", "c at</w>", "a t", "t h", "th e</w>", "a a", "aa a</w>", "i n",
  "in g</w>", "' s</w>", "Ã ©", "Ã ©</w>", "! !</w>", "a g",
  "a g</w>", "ag ag</w>",
]
# fmt: on
SENTENCES = [
  "a red square moves left",
  "the cafe of the cafe runs",
  "a blue circle grows and the camera pans",
  "dogs and cats, cafés! 東京",
]


def wordpiece() -> bytes:
  return "\n".join([*PIECES, ""]).encode()


def merges() -> bytes:
  """As CLIP's file looks, with more merges than count."""
  lines = ['"tiny.txt#version: 0.2', *MERGES, "beyond the count", ""]
  return gzip.compress("\n".join(lines).encode(), mtime=0)


def sentences(**options) -> bytes:
  """A model whose special ids are those of T5: padding 0, end 1, unknown 2."""
  options = dict(pad_id=0, eos_id=1, unk_id=2, bos_id=-1) | options
  file = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(SENTENCES),
    model_writer=file,
    vocab_size=60,
    hard_vocab_limit=False,
    normalization_rule_name="identity",
    num_threads=1,
    minloglevel=2,
    **options,
  )
  return file.getvalue()


def letters() -> list[str]:
  """The characters that stand for bytes, in the order of CLIP's ids.

  A byte that Latin-1 shows is its own character; the others follow from U+0100
  on.
  """
  return [byte_letters()[byte] for byte in clip_order()]


def clip_order() -> list[int]:
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  return shown + [byte for byte in range(256) if byte not in shown]


def byte_letters() -> dict[int, str]:
  """Byte -> the character that stands for it."""
  order = clip_order()
  hidden = {byte: chr(256 + i) for i, byte in enumerate(order[188:])}
  return {byte: hidden.get(byte, chr(byte)) for byte in order}


def clip_pieces() -> list[str]:
  """All pieces of the tiny merges, by CLIP's id."""
  return [
    *letters(),
    *(letter + "</w>" for letter in letters()),
    *(merge.replace(" ", "") for merge in MERGES),
    "<|startoftext|>",
    "<|endoftext|>",
  ]


def clip_json() -> bytes:
  """A `vocab.json` that numbers the tiny merges backwards."""
  pieces = reversed(clip_pieces())
  return json.dumps({piece: i for i, piece in enumerate(pieces)}).encode()
