"""Train token-efficient video encoders in JAX.

The line, which every module has its place on:
data -> Batch -> tokenizer -> Tokens -> encoder (reducers between its stages)
-> Tokens -> model -> outputs -> objectives -> loss -> training step ->
evaluators -> export.
"""

__version__ = "0.1.0"


def load(path, runtime=None):
  """Returns the encoder of the export or the run at `path`.

  `runtime` chooses among the programs of an export; see `trajvit.export.load`.
  """
  # An exported encoder needs jax and numpy only, and importing the package
  # must not cost even that.
  from trajvit.export.load import load as load_export  # noqa: PLC0415

  return load_export(path, runtime)
