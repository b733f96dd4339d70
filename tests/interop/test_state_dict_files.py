"""State dicts survive both formats; damaged and hostile files are refused."""

import contextlib
import pickle
import struct
import zipfile

import ml_dtypes
import numpy as np
import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from trajvit.interop import read_state_dict, write_state_dict
from trajvit.interop.torch_pickle import read_pickle

DTYPES = [
  np.float32,
  np.float64,
  np.float16,
  ml_dtypes.bfloat16,
  np.int64,
  np.int8,
  np.uint8,
  np.bool_,
]


def arrays():
  rng = np.random.default_rng(0)
  found = {
    f"layer.{i}.weight": rng.normal(0, 3, (2, 3 + i)).astype(dtype)
    for i, dtype in enumerate(DTYPES)
  }
  return found | {
    "scalar": np.float32(rng.normal()).reshape(()),
    "empty": np.zeros((0, 4), np.float32),
    "long" * 80: rng.normal(size=300).astype(np.float32),
  }


def assert_same(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype, name
    assert found[name].shape == x.shape, name
    assert found[name].tobytes() == x.tobytes(), name


@pytest.fixture
def weights(tmp_path):
  path = tmp_path / "weights.pth"
  write_state_dict(path, arrays())
  return path


@pytest.mark.parametrize("ending", ["pth", "pt", "bin", "safetensors"])
def test_what_is_written_is_read(tmp_path, ending):
  path = tmp_path / f"weights.{ending}"
  write_state_dict(path, arrays())
  assert_same(read_state_dict(path), arrays())


def test_a_file_is_the_same_every_time(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    write_state_dict(tmp_path / name / "w.pth", {"x": np.ones(3, np.float32)})
  one, two = (tmp_path / x / "w.pth" for x in "ab")
  assert one.read_bytes() == two.read_bytes()


def test_other_dtypes_and_endings_are_refused(tmp_path):
  with pytest.raises(ValueError, match="x: PyTorch stores .* got uint32"):
    write_state_dict(tmp_path / "w.pth", {"x": np.ones(1, np.uint32)})
  for call in (read_state_dict, lambda p: write_state_dict(p, {})):
    with pytest.raises(ValueError, match=r"w\.h5: expected a file that ends"):
      call(tmp_path / "w.h5")


def test_prefixes_are_stripped_from_all_or_none(tmp_path):
  path = tmp_path / "w.safetensors"
  found = {"module.a": np.ones(1, np.float32)}
  write_state_dict(path, found)
  assert read_state_dict(path, strip="module.").keys() == {"a"}
  assert read_state_dict(path).keys() == {"module.a"}
  write_state_dict(path, found | {"b": np.ones(1, np.float32)})
  with pytest.raises(ValueError, match=r"1 of 2 names do not begin .*: b"):
    read_state_dict(path, strip="module.")
  with pytest.raises(ValueError, match="safetensors file has no parts"):
    read_state_dict(path, part="model")


# Instructions of a pickle, by hand: what torch.save writes around tensors.
def text(value):
  return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key="0", count=4, offset=0, shape=(4,), strides=(1,), kind="Float"):
  def numbers(values):
    return b"(" + b"".join(b"J" + struct.pack("<i", x) for x in values) + b"t"

  return (
    b"ctorch._utils\n_rebuild_tensor_v2\n(("
    + text("storage")
    + f"ctorch\n{kind}Storage\n".encode()
    + text(key)
    + text("cpu")
    + numbers([count])[1:-1]
    + b"tQ"
    + numbers([offset])[1:-1]
    + numbers(shape)
    + numbers(strides)
    + b"\x89ccollections\nOrderedDict\n)RtR"
  )


def write(path, program, data=bytes(16), files=(), method=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", method) as archive:
    archive.writestr("w/data.pkl", b"\x80\x02" + program + b".")
    archive.writestr("w/data/0", data)
    for name, content in files:
      archive.writestr(name, content)


def entries(**values):
  return b"}(" + b"".join(text(k) + v for k, v in values.items()) + b"u"


def test_views_share_a_storage(tmp_path):
  path = tmp_path / "w.pth"
  storage = np.arange(12, dtype=np.float32)
  program = entries(
    whole=tensor(count=12, shape=(3, 4), strides=(4, 1)),
    transposed=tensor(count=12, shape=(4, 3), strides=(1, 4)),
    column=tensor(count=12, offset=2, shape=(3,), strides=(4,)),
    repeated=tensor(count=12, offset=5, shape=(2, 2), strides=(0, 0)),
  )
  write(path, program, storage.tobytes())
  found = read_state_dict(path)
  grid = storage.reshape(3, 4)
  np.testing.assert_array_equal(found["whole"], grid)
  np.testing.assert_array_equal(found["transposed"], grid.T)
  np.testing.assert_array_equal(found["column"], grid[:, 2])
  np.testing.assert_array_equal(found["repeated"], np.full((2, 2), 5))


def test_a_part_is_named_and_not_guessed(tmp_path):
  path = tmp_path / "w.pth"
  inner = entries(x=tensor())
  write(path, entries(model=inner, meta=entries(epoch=b"K\x03")))
  with pytest.raises(ValueError, match=r"w\.pth: .* besides: model, meta"):
    read_state_dict(path)
  with pytest.raises(ValueError, match=r"no part 'ema'; .*: model, meta"):
    read_state_dict(path, part="ema")
  with pytest.raises(ValueError, match="besides: epoch"):
    read_state_dict(path, part="meta")
  assert read_state_dict(path, part="model").keys() == {"x"}
  write(path, entries(run=entries(model=inner)))
  assert read_state_dict(path, part="run.model").keys() == {"x"}


RAN = []


class Code:
  def __reduce__(self):
    return (RAN.append, (1,))


HOSTILE = [
  pytest.param(b"cos\nsystem\n" + text("x") + b"\x85R", "os.system", id="call"),
  pytest.param(pickle.dumps(Code())[2:-1], "builtins.getattr", id="append"),
  pytest.param(b"cbuiltins\neval\n", "builtins.eval", id="name alone"),
  pytest.param(
    b"comegaconf\nDictConfig\n", "omegaconf.DictConfig", id="config"
  ),
  pytest.param(b"(S'x'\nios\nsystem\n", "instruction STRING", id="inst"),
  pytest.param(b"ccollections\nOrderedDict\n)\x81", "NEWOBJ", id="new"),
  pytest.param(b"\x82\x01", "EXT1", id="extension"),
  pytest.param(
    b"ctorch\nFloatStorage\n)R", "in a way that torch does not", id="storage"
  ),
  pytest.param(b"ctorch\nSize\n}b", "sets attributes", id="attributes"),
  pytest.param(b"}(]K\x01u", "keys must be strings", id="key"),
  pytest.param(b"K\x01", "there is a int", id="number"),
  pytest.param(entries(x=b"K\x01"), "besides: x", id="no array"),
  pytest.param(entries(x=tensor(key="9")), "x: it has no data/9", id="lost"),
  pytest.param(entries(x=tensor(count=5)), "got 16 bytes", id="short"),
  pytest.param(entries(x=tensor(offset=1)), "ends at number 5 of 4", id="end"),
  pytest.param(
    entries(x=tensor(shape=(1 << 20, 1 << 20), strides=(0, 0))),
    "times its size",
    id="bomb",
  ),
  pytest.param(entries(x=tensor(strides=(-1,))), "that torch", id="backwards"),
  pytest.param(entries(x=tensor(kind="ComplexFloat")), "Complex", id="complex"),
]


@pytest.mark.parametrize(("program", "message"), HOSTILE)
def test_what_is_more_than_weights_is_refused(tmp_path, program, message):
  path = tmp_path / "w.pth"
  write(path, program)
  with pytest.raises(ValueError, match=message) as caught:
    read_state_dict(path)
  assert str(path) in str(caught.value)
  assert not RAN


def test_compressed_and_foreign_archives_are_refused(tmp_path):
  path = tmp_path / "w.pth"
  write(path, entries(x=tensor()), method=zipfile.ZIP_DEFLATED)
  with pytest.raises(ValueError, match="compressed"):
    read_state_dict(path)
  write(path, entries(x=tensor()), files=[("w/byteorder", b"big")])
  with pytest.raises(ValueError, match="big-endian"):
    read_state_dict(path)
  write(path, entries(x=tensor()), files=[("v/data.pkl", b"")])
  with pytest.raises(ValueError, match="expected one data.pkl"):
    read_state_dict(path)
  path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2))
  with pytest.raises(ValueError, match=r"before 1\.6"):
    read_state_dict(path)
  with pytest.raises(FileNotFoundError):
    read_state_dict(tmp_path / "none.pth")


def test_truncated_files_are_refused(weights, tmp_path):
  tensors = tmp_path / "w.safetensors"
  write_state_dict(tensors, {"x": np.ones(9, np.float32)})
  for path in (weights, tensors):
    content = path.read_bytes()
    for end in (0, 7, len(content) // 2, len(content) - 1):
      path.write_bytes(content[:end])
      with pytest.raises(ValueError, match=path.name):
        read_state_dict(path)


@fuzz(40)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_byte_is_found_or_changes_no_number(weights, at, value):
  content = bytearray(weights.read_bytes())
  before = read_state_dict(weights)
  damaged = weights.with_name("damaged.pth")
  content[at % len(content)] = value
  damaged.write_bytes(content)
  try:
    found = read_state_dict(damaged)
  except ValueError as error:
    assert "damaged.pth" in str(error)
    return
  assert_same(found, before)


@fuzz(60)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_pickle_or_a_value_error(program):
  with contextlib.suppress(ValueError):
    read_pickle(program)
