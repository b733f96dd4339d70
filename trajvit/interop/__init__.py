"""Weights of PyTorch models in, and back out; see docs/weights.md."""

from trajvit.interop.convert import Report, convert, convert_back
from trajvit.interop.kinds import KINDS, kind_of
from trajvit.interop.load import (
  ConvertedRun,
  load_torch,
  run_reference_inputs,
  to_torch,
)
from trajvit.interop.state_dict import (
  read_state_dict,
  strip_prefix,
  write_state_dict,
)

__all__ = [
  "KINDS",
  "ConvertedRun",
  "Report",
  "convert",
  "convert_back",
  "kind_of",
  "load_torch",
  "read_state_dict",
  "run_reference_inputs",
  "strip_prefix",
  "to_torch",
  "write_state_dict",
]
