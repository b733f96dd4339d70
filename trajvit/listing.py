"""`trajvit list`: every name that a config can use, with one line on each."""

import argparse

from trajvit.data import SOURCES, TEXT_TOKENIZERS
from trajvit.data.augment import AUGMENTATIONS
from trajvit.data.benchmarks import BENCHMARKS
from trajvit.data.sampling import SAMPLERS
from trajvit.decoders import DECODERS
from trajvit.encoders import ENCODERS, TEXT_ENCODERS, VISION_ENCODERS
from trajvit.evaluators import EVALUATORS
from trajvit.layers.attention_methods import ATTENTIONS
from trajvit.layers.stems import STEMS
from trajvit.models import MODELS
from trajvit.models.features import FEATURES
from trajvit.models.latents import LATENTS
from trajvit.models.traj_adapter import ADAPTERS
from trajvit.objectives import OBJECTIVES
from trajvit.ops.attention.grids.orders import ORDERS
from trajvit.ops.attention.patterns import PATTERNS
from trajvit.quantizers import QUANTIZERS
from trajvit.reducers import REDUCERS
from trajvit.table import Table
from trajvit.tokenizers import TOKENIZERS
from trajvit.tokenizers.trajtok import POOLS

# Where a config names an entry -> the table.
TABLES = {
  "data.train.name": SOURCES,
  "data.train.benchmark": BENCHMARKS,
  "data.clip.sampler": SAMPLERS,
  "data.clip.augment": AUGMENTATIONS,
  "data.text.name": TEXT_TOKENIZERS,
  "model.name": MODELS,
  "model.tokenizer.name": TOKENIZERS,
  "model.tokenizer.stem.name": STEMS,
  "model.tokenizer.pool.name": POOLS,
  "model.encoder.name": ENCODERS,
  "model.encoder.reducers": REDUCERS,
  "model.encoder.attention.name": ATTENTIONS,
  "model.encoder.pattern.name": PATTERNS,
  "model.encoder.pattern.order.name": ORDERS,
  "model.text.name": TEXT_ENCODERS,
  "model.vision.name": VISION_ENCODERS,
  "model.features.name": FEATURES,
  "model.adapter.name": ADAPTERS,
  "model.latents.name": LATENTS,
  "model.reconstruction.quantizer.name": QUANTIZERS,
  "model.reconstruction.decoder.name": DECODERS,
  "objectives": OBJECTIVES,
  "evals": EVALUATORS,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares the arguments of the command: it has none."""
  del parser


def run(args: argparse.Namespace) -> None:
  """Prints all tables."""
  del args
  print(listing(TABLES))


def listing(tables: dict[str, Table]) -> str:
  """Returns the tables as text, one entry a line, in aligned columns.

  Args:
    tables: where a config names an entry -> the table.
  """
  width = max(len(name) for table in tables.values() for name in table)
  groups = []
  for place, table in tables.items():
    lines = [f"{table.kind}  (config: {place})"]
    for name, text in table.describe():
      lines.append(f"  {name:{width}}  {text}".rstrip())
    groups.append("\n".join(lines))
  return "\n\n".join(groups)
