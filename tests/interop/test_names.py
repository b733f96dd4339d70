"""Name tables work in both directions, bit for bit, and hide nothing."""

import dataclasses

import numpy as np
import pytest

from trajvit.interop.convert import convert, convert_back
from trajvit.interop.layouts import (
  CONV,
  CONV_TRANSPOSE,
  KEEP,
  LOG,
  MATRIX,
  POINTWISE,
  fused,
  leading,
  patches,
  permuted,
  split,
)
from trajvit.interop.names import Copy, Entry, NameTable, Unused

TABLE = NameTable(
  entries=[
    Entry("layer.{i}.fc.weight", "params/blocks/fc/kernel", MATRIX),
    Entry("layer.{i}.fc.bias", "params/blocks/fc/bias"),
    Entry("stage.{s}.conv.weight", "params/stages/{s}/kernel", CONV),
    Entry(
      "qkv.weight",
      ("params/query", "params/key", "params/value"),
      split(3, MATRIX),
    ),
    Entry(("gate", "up"), "params/both", fused(2, KEEP)),
    Entry("temp", "params/log_temperature", LOG),
  ],
  unused=[
    Unused("*.counter", "a counter"),
    Unused("freqs", "powers of ten", lambda x: 10.0 ** np.arange(len(x))),
  ],
  copies=[Copy("again.", "layer.0.")],
  fresh={"params/bias": "they have none"},
)


def theirs(rng):
  def draw(*shape):
    return rng.normal(size=shape).astype(np.float32)

  return {
    "layer.0.fc.weight": draw(3, 2),
    "layer.0.fc.bias": draw(3),
    "layer.1.fc.weight": draw(3, 2),
    "layer.1.fc.bias": draw(3),
    "stage.0.conv.weight": draw(4, 3, 5, 5),
    "stage.1.conv.weight": draw(2, 4, 1, 1),
    "qkv.weight": draw(6, 4),
    "gate": draw(2, 5),
    "up": draw(2, 5),
    "temp": np.float32(0.0713),
    "norm.counter": np.int64(7).reshape(()),
    "freqs": np.array([1, 10, 100], np.float32),
  }


def ours():
  shapes = {
    "blocks": {"fc": {"kernel": (2, 2, 3), "bias": (2, 3)}},
    "stages": {0: {"kernel": (5, 5, 3, 4)}, 1: {"kernel": (1, 1, 4, 2)}},
    "query": (4, 2),
    "key": (4, 2),
    "value": (4, 2),
    "both": (4, 5),
    "log_temperature": (),
    "bias": (),
  }

  def fill(tree):
    if isinstance(tree, dict):
      return {key: fill(value) for key, value in tree.items()}
    return np.full(tree, -1, np.float32)

  return {"params": fill(shapes), "batch_stats": {}}


def assert_same_bits(found, expected):
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].tobytes() == np.asarray(x).tobytes(), name
    assert found[name].shape == np.shape(x), name


def test_there_and_back_is_bit_exact(rng):
  arrays = theirs(rng)
  made, report = convert(TABLE, arrays, ours())
  kernel = made["params"]["blocks"]["fc"]["kernel"]
  np.testing.assert_array_equal(kernel[1], arrays["layer.1.fc.weight"].T)
  np.testing.assert_array_equal(
    made["params"]["key"], arrays["qkv.weight"][2:4].T
  )
  assert made["params"]["bias"] == -1
  assert report.unused == {
    "norm.counter": "a counter",
    "freqs": "powers of ten",
  }
  assert report.fresh == {"params/bias": "they have none"}
  assert not report.extra
  assert not report.missing
  assert_same_bits(convert_back(TABLE, made, report.carried), arrays)


def test_what_is_trained_on_comes_back_as_trained(rng):
  made, report = convert(TABLE, theirs(rng), ours())
  made["params"]["log_temperature"] = np.float32(np.log(0.05))
  made["params"]["blocks"]["fc"]["bias"] += 1
  back = convert_back(TABLE, made, report.carried)
  assert back["temp"] == pytest.approx(0.05)
  np.testing.assert_array_equal(
    back["layer.0.fc.bias"],
    theirs(np.random.default_rng(0))["layer.0.fc.bias"] + np.float32(1),
  )


def test_unmatched_names_are_all_listed(rng):
  arrays = theirs(rng) | {"layer.2.fc.bias": np.zeros(3), "x": np.zeros(1)}
  del arrays["layer.1.fc.weight"]
  del arrays["up"]
  with pytest.raises(ValueError, match="unmatched") as caught:
    convert(TABLE, arrays, ours())
  text = str(caught.value)
  assert text.startswith("4 arrays")
  for line in (
    "extra    layer.2.fc.bias",
    "extra    x",
    "missing  layer.1.fc.weight  for params/blocks/fc/kernel",
    "missing  up  for params/both",
  ):
    assert line in text


def test_what_is_allowed_may_be_unmatched(rng):
  arrays = theirs(rng) | {"x.1": np.zeros(1), "x.2": np.ones(1)}
  del arrays["temp"]
  allow = ["x.*", "params/log_temperature"]
  made, report = convert(TABLE, arrays, ours(), allow=allow)
  assert report.extra == ("x.1", "x.2")
  assert report.missing == ("params/log_temperature",)
  assert made["params"]["log_temperature"] == -1
  assert convert_back(TABLE, made, report.carried)["x.2"] == 1
  with pytest.raises(ValueError, match="temp  for params/log_temperature"):
    convert(TABLE, arrays, ours(), allow=["x.*"])


def test_a_name_of_ours_without_an_entry_is_found(rng):
  table = dataclasses.replace(TABLE, fresh={})
  with pytest.raises(ValueError, match="no entry .* for params/bias"):
    convert(table, theirs(rng), ours())
  with pytest.raises(ValueError, match="1 arrays have no name there"):
    convert_back(table, ours())


def test_a_wrong_shape_names_both(rng):
  for name, message in {
    "layer.1.fc.weight": r"layer.1.fc.weight \[\[2, 3\]\] gives \[3, 2\], but "
    r"params/blocks/fc/kernel takes \[2, 3\]",
    "stage.0.conv.weight": r"stage.0.conv.weight .* expected 4 axes",
  }.items():
    arrays = theirs(rng)
    arrays[name] = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=message):
      convert(TABLE, arrays, ours())


def test_dtypes_are_cast_where_that_rounds_nothing(rng):
  arrays = theirs(rng)
  for name in ("gate", "up"):
    arrays[name] = arrays[name].astype(np.float16)
  made, _ = convert(TABLE, arrays, ours())
  assert made["params"]["both"].dtype == np.float32
  np.testing.assert_array_equal(made["params"]["both"][:2], arrays["gate"])
  arrays["qkv.weight"] = np.full((6, 4), 1 / 3)
  with pytest.raises(ValueError, match="qkv.weight: float64 would be rounded"):
    convert(TABLE, arrays, ours())


def test_what_is_expected_is_checked(rng):
  with pytest.raises(ValueError, match="freqs: expected powers of ten"):
    convert(TABLE, theirs(rng) | {"freqs": np.ones(3)}, ours())


def test_copies_are_checked_and_made_again(rng):
  arrays = theirs(rng)
  arrays["again.fc.bias"] = arrays["layer.0.fc.bias"]
  made, report = convert(TABLE, arrays, ours())
  made["params"]["blocks"]["fc"]["bias"][0] = 5
  back = convert_back(TABLE, made, report.carried)
  assert (back["again.fc.bias"] == 5).all()
  arrays["again.fc.bias"] = arrays["layer.1.fc.bias"]
  with pytest.raises(ValueError, match="must be the same as layer.0.fc.bias"):
    convert(TABLE, arrays, ours())


LAYOUTS = [
  (KEEP, [(3, 2)], [(3, 2)]),
  (MATRIX, [(3, 2)], [(2, 3)]),
  (CONV, [(4, 3, 5, 7)], [(5, 7, 3, 4)]),
  (POINTWISE, [(4, 3, 1, 1)], [(3, 4)]),
  (CONV_TRANSPOSE, [(4, 3, 2, 2)], [(4, 2, 2, 3)]),
  (permuted("x", 2, 0, 1), [(4, 3, 2)], [(2, 4, 3)]),
  (leading(2), [(1, 1, 3)], [(3,)]),
  (patches(2, 4), [(5, 3, 2, 4)], [(24, 5)]),
  (patches(2, 4, 4, channels=1), [(5, 1, 2, 4, 4)], [(32, 5)]),
  (split(3, MATRIX), [(6, 4)], [(4, 2)] * 3),
  (fused(2, MATRIX), [(3, 2), (3, 2)], [(2, 6)]),
]


@pytest.mark.parametrize(
  ("layout", "given", "wanted"), LAYOUTS, ids=lambda x: getattr(x, "name", "")
)
def test_every_layout_is_undone_exactly(layout, given, wanted, rng):
  arrays = [rng.normal(size=shape).astype(np.float32) for shape in given]
  found = layout.forward(arrays)
  assert [x.shape for x in found] == wanted
  for x, y in zip(layout.back(found), arrays, strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("layout", [CONV, POINTWISE, leading(2), patches(2, 2)])
def test_a_layout_refuses_another_shape(layout):
  with pytest.raises(ValueError, match="expected"):
    layout.forward([np.zeros((4, 3, 5, 5, 5))])


def test_patches_lie_as_the_layer_cuts_them(rng):
  """A convolution by hand, against the matrix on flattened patches."""
  weight = rng.normal(size=(5, 3, 2, 4)).astype(np.float32)
  frames = rng.normal(size=(4, 8, 3)).astype(np.float32)
  (matrix,) = patches(2, 4).forward([weight])
  patch = frames[2:4, 4:8]
  expected = np.einsum("rcx,oxrc->o", patch, weight)
  np.testing.assert_allclose(patch.reshape(-1) @ matrix, expected, rtol=1e-4)
