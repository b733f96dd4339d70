"""The NumPy reader against the library, and against broken files."""

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from trajvit.export.safetensors import DTYPES, read


def write(path, header, data=b"", length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  length = len(text) if length is None else length
  path.write_bytes(length.to_bytes(8, "little") + text + data)
  return path


def entry(shape, start, stop, dtype="F32"):
  return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES)
def test_reads_what_the_library_writes(tmp_path, rng, dtype):
  arrays = {
    "params/stages/0/kernel": rng.integers(0, 2, (3, 4, 5)).astype(dtype),
    "params/scalar": np.array(1).astype(dtype),
    "params/empty": np.zeros((0, 7), dtype),
    "batch_stats/ünï": rng.integers(0, 2, (9,)).astype(dtype),
  }
  path = tmp_path / "file"
  path.write_bytes(safetensors.numpy.save(arrays, {"format": "np"}))
  got = read(path)
  assert got.keys() == arrays.keys()
  for name, array in arrays.items():
    assert got[name].dtype == dtype
    np.testing.assert_array_equal(got[name], array)


def test_values_of_bfloat16_are_kept(tmp_path):
  values = np.array([1.5, -3.25, 65536.0], ml_dtypes.bfloat16)
  header = {"a": entry([3], 0, 6, "BF16")}
  path = write(tmp_path / "f", header, values.tobytes())
  np.testing.assert_array_equal(read(path)["a"], values)


def test_a_file_without_arrays_is_empty(tmp_path):
  assert read(write(tmp_path / "f", {"__metadata__": {"a": "b"}})) == {}


GOOD = {"a": entry([2], 0, 8)}
BROKEN = {
  "longer header": (dict(header=GOOD, length=2**40), "should be 1099511627776"),
  "not JSON": (dict(header=b"{]"), "not JSON"),
  "not text": (dict(header=b"\xff\xff"), "not JSON"),
  "a list": (dict(header=[1]), "must be an object"),
  "no shape": (dict(header={"a": {"dtype": "F32"}}), "needs dtype, shape"),
  "negative": (dict(header={"a": entry([-2], 0, 8)}), "needs dtype, shape"),
  "fractions": (dict(header={"a": entry([2.0], 0, 8)}), "needs dtype, shape"),
  "dtype": (dict(header={"a": entry([2], 0, 8, "F8")}), "'F8'; known: BOOL"),
  "size": (
    dict(header={"a": entry([3], 0, 8)}, data=bytes(8)),
    r"'a', float32 \[3\], takes 12 bytes, got 8",
  ),
  "cut short": (dict(header=GOOD, data=bytes(7)), "byte 8 of 7.*cut short"),
  "too long": (dict(header=GOOD, data=bytes(9)), "1 bytes belong to no"),
  "overlap": (
    dict(header=GOOD | {"b": entry([1], 4, 8)}, data=bytes(8)),
    "'b' should begin at byte 8, not 4",
  ),
  "a hole": (
    dict(header=GOOD | {"b": entry([1], 12, 16)}, data=bytes(16)),
    "'b' should begin at byte 8, not 12",
  ),
}


@pytest.mark.parametrize(("file", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_says_what_is_wrong(tmp_path, file, message):
  with pytest.raises(ValueError, match=message):
    read(write(tmp_path / "f", **file))


@pytest.mark.parametrize("size", [0, 7])
def test_a_file_needs_a_header(tmp_path, size):
  path = tmp_path / "f"
  path.write_bytes(bytes(size))
  with pytest.raises(ValueError, match=f"at least 8 bytes, got {size}"):
    read(path)
