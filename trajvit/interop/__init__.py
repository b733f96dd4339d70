"""Weights of PyTorch models in, and back out; see docs/weights.md."""

from trajvit.interop.convert import Report, convert, convert_back
from trajvit.interop.state_dict import (
  read_state_dict,
  strip_prefix,
  write_state_dict,
)

__all__ = [
  "Report",
  "convert",
  "convert_back",
  "read_state_dict",
  "strip_prefix",
  "write_state_dict",
]
