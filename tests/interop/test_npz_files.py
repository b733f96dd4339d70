"""Weights in npz files: read as written, and nothing else is believed."""

import pickle
import zipfile

import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st
from test_state_dict_files import arrays, assert_same

from trajvit.interop import read_state_dict, write_state_dict


def known():
  """Those that the format has."""
  return {name: x for name, x in arrays().items() if x.dtype.kind != "V"}


def test_what_is_written_is_read_also_by_numpy(tmp_path):
  for name in ("a.npz", "b.npz"):
    write_state_dict(tmp_path / name, known())
  assert_same(read_state_dict(tmp_path / "a.npz"), known())
  with np.load(tmp_path / "a.npz") as file:
    assert_same(dict(file), known())
  one, two = ((tmp_path / name).read_bytes() for name in ("a.npz", "b.npz"))
  assert one == two
  with pytest.raises(ValueError, match="file has no parts, got 'model'"):
    read_state_dict(tmp_path / "a.npz", part="model")
  with pytest.raises(ValueError, match="stores numbers, got bfloat16"):
    write_state_dict(tmp_path / "c.npz", arrays())


RAN = []


class Code:
  def __reduce__(self):
    return (RAN.append, (1,))


def write(path, **files):
  with zipfile.ZipFile(path, "w") as archive:
    for name, content in files.items():
      archive.writestr(name, content)


def test_files_that_are_not_arrays_alone_are_refused(tmp_path):
  path = tmp_path / "w.npz"
  np.savez(path, x=np.ones((3, 4), np.float32))
  whole = path.read_bytes()
  for end in (0, 40, len(whole) // 2, len(whole) - 1):
    path.write_bytes(whole[:end])
    with pytest.raises(ValueError, match=r"w\.npz: expected an npz file"):
      read_state_dict(path)
  damaged = bytearray(whole)
  damaged[whole.index(np.ones(3, np.float32).tobytes())] ^= 1
  path.write_bytes(damaged)
  with pytest.raises(ValueError, match=r"w\.npz: x\.npy: Bad CRC-32"):
    read_state_dict(path)
  head = b"\x93NUMPY\x01\x00\x76\x00{'descr': '%s', 'fortran_order': False, "
  head += b"'shape': (%s,), }"

  def array(descr, shape, content):
    return (head % (descr, shape)).ljust(127) + b"\n" + content

  for content, message in (
    (
      array(b"|O", b"1", pickle.dumps(Code())),
      "x.npy: expected numbers, got o",
    ),
    (array(b"<f4", b"9" * 9, bytes(36)), "is not in a file of 164 bytes"),
    (array(b"<f4", b"9", bytes(35)), r"x.npy: less than an array \(9,\)"),
    (array(b"<f4", b"9", bytes(37)), r"x.npy: more than an array \(9,\)"),
    (array(b"|V2", b"9", bytes(18)), "x.npy: expected numbers, got .V2"),
    (array(b"<U1", b"9", bytes(36)), "x.npy: expected numbers, got <U1"),
    (b"x", "x.npy: "),
  ):
    write(path, **{"x.npy": content})
    with pytest.raises(ValueError, match=message) as caught:
      read_state_dict(path)
    assert str(path) in str(caught.value)
  assert not RAN
  write(path, **{"x.npy": array(b"<f4", b"9", bytes(36)), "y.pkl": b""})
  with pytest.raises(ValueError, match=r"expected arrays alone, got y\.pkl"):
    read_state_dict(path)


def test_numbers_of_other_orders_are_read(tmp_path):
  path = tmp_path / "weights.npz"
  x = np.arange(6, dtype=np.float32).reshape(2, 3)
  found = dict(big=x.astype(">f4"), columns=np.asfortranarray(x))
  np.savez(path, **found)
  assert_same(read_state_dict(path), dict(big=x, columns=x))


def test_names_that_come_twice_are_refused(tmp_path):
  path = tmp_path / "w.npz"
  write_state_dict(path, {"x": np.ones(1, np.float32)})
  with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning):
    archive.writestr("x.npy", archive.read("x.npy"))
  with pytest.raises(ValueError, match=r"w\.npz: .* some of them twice"):
    read_state_dict(path)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("npz") / "weights.npz"
  write_state_dict(path, known())
  return path


@fuzz(40)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_byte_is_found_or_changes_no_number(weights, at, value):
  content = bytearray(weights.read_bytes())
  damaged = weights.with_name("damaged.npz")
  content[at % len(content)] = value
  damaged.write_bytes(content)
  try:
    found = read_state_dict(damaged)
  except ValueError as error:
    assert "damaged.npz" in str(error)
    return
  assert_same(found, known())
