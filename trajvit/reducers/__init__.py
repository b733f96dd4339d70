"""Reducers: Tokens -> fewer Tokens. `REDUCERS` is what a config can name."""

from trajvit.reducers.select import RandomK, UniformK
from trajvit.table import Table

REDUCERS = Table("reducer", {"random_k": RandomK, "uniform_k": UniformK})
