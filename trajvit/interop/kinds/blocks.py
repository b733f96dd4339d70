"""Names of what several PyTorch models are made of."""

from trajvit.interop.layouts import CONV, KEEP, MATRIX, POINTWISE, split
from trajvit.interop.names import Entry


def linear(theirs: str, ours: str, *, bias: bool = True) -> list[Entry]:
  """Returns the entries of a linear map."""
  entries = [Entry(f"{theirs}.weight", f"params/{ours}/kernel", MATRIX)]
  if bias:
    entries.append(Entry(f"{theirs}.bias", f"params/{ours}/bias"))
  return entries


def convolution(
  theirs: str, ours: str, *, bias: bool = True, pointwise: bool = False
) -> list[Entry]:
  """Returns the entries of a convolution, or of one that is a linear map."""
  layout = POINTWISE if pointwise else CONV
  entries = [Entry(f"{theirs}.weight", f"params/{ours}/kernel", layout)]
  if bias:
    entries.append(Entry(f"{theirs}.bias", f"params/{ours}/bias"))
  return entries


def multihead(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of `nn.MultiheadAttention`, whose inputs are fused."""
  maps = [f"params/{ours}/{name}" for name in ("query", "key", "value")]
  return [
    Entry(
      f"{theirs}.in_proj_weight",
      tuple(f"{name}/kernel" for name in maps),
      split(3, MATRIX),
    ),
    Entry(
      f"{theirs}.in_proj_bias",
      tuple(f"{name}/bias" for name in maps),
      split(3, KEEP),
    ),
    *linear(f"{theirs}.out_proj", f"{ours}/out"),
  ]


def norm(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of a layer norm."""
  return [
    Entry(f"{theirs}.weight", f"params/{ours}/scale"),
    Entry(f"{theirs}.bias", f"params/{ours}/bias"),
  ]


def vit_blocks(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of the pre-norm blocks of Hugging Face's ViT.

  Args:
    theirs: what their names begin with, up to the number of the block.
    ours: the stack of `layers.block.Block`.
  """
  block, layers = f"{theirs}.{{i}}", f"{ours}/layers"
  entries = []
  for name in ("query", "key", "value"):
    entries += linear(
      f"{block}.attention.attention.{name}", f"{layers}/attention/{name}"
    )
  return [
    *entries,
    *linear(f"{block}.attention.output.dense", f"{layers}/attention/out"),
    *linear(f"{block}.intermediate.dense", f"{layers}/mlp/inner"),
    *linear(f"{block}.output.dense", f"{layers}/mlp/outer"),
    *norm(f"{block}.layernorm_before", f"{layers}/norm_attention"),
    *norm(f"{block}.layernorm_after", f"{layers}/norm_mlp"),
  ]


def bert_blocks(theirs: str, ours: str) -> list[Entry]:
  """Returns the entries of BERT's post-norm blocks; see `vit_blocks`."""
  block, layers = f"{theirs}.{{i}}", f"{ours}/layers"
  entries = []
  for name in ("query", "key", "value"):
    entries += linear(
      f"{block}.attention.self.{name}", f"{layers}/attention/{name}"
    )
  return [
    *entries,
    *linear(f"{block}.attention.output.dense", f"{layers}/attention/out"),
    *norm(f"{block}.attention.output.LayerNorm", f"{layers}/norm_attention"),
    *linear(f"{block}.intermediate.dense", f"{layers}/mlp/inner"),
    *linear(f"{block}.output.dense", f"{layers}/mlp/outer"),
    *norm(f"{block}.output.LayerNorm", f"{layers}/norm_mlp"),
  ]
