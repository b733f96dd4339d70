from trajvit.bench import attention_tables as tables
from trajvit.bench.results import as_markdown, as_text

SHAPE = dict(length=512, batch=2, heads=4, head_dim=64)


def row(mask, density, both_ms, **fields):
  base = dict(mask=mask, implementation="xla", density=density)
  base |= dict(token_density=density, forward_ms=None, both_ms=both_ms)
  return SHAPE | base | dict(errors={}, skipped={}) | fields


def test_columns_line_up():
  text = as_text(["a", "bb", "c"], [["long", "x", "1"], ["y", "z", "100"]])
  assert text == "a     bb    c\nlong  x     1\ny     z   100"


def test_markdown_has_a_rule():
  page = as_markdown(["a", "b", "c"], [["1", "2", "3"]])
  assert page == "| a | b | c |\n| --- | --- | --: |\n| 1 | 2 | 3 |"


def test_columns_that_nothing_fills_are_left_out():
  text = tables.tables([row("dense", 1.0, 12.5)])
  assert "both ms" in text and "12.5" in text
  assert "forward ms" not in text
  assert "8 x 64" in text


def test_break_even_takes_random_tiles_of_one_shape():
  rows = [
    row("dense", 1.0, 30.0),
    row("random tiles 0.1", 0.1, 14.0),
    row("random tiles 0.5", 0.5, 30.0),
    row("window", 0.2, 999.0),
    row("dense", 1.0, 7.0, length=1024),
    row("random tiles 0.5", 0.5, 3.0, length=1024),
  ]
  first, second = tables.break_evens(rows)
  assert first["both"] == 0.5
  assert "forward" not in first
  assert second["both"] is None
  assert tables.break_even_lines(rows) == [
    "break-even density of xla at 512 tokens, 8 x 64: forward + backward 0.50"
  ]


def test_beyond_full_lists_a_break_even_is_only_said_to_be_there():
  rows = [
    row("dense", 1.0, 60.0),
    row("random tiles 0.1", 0.1, 14.0),
    row("random tiles 0.5", 0.5, 30.0),
  ]
  assert tables.break_even_lines(rows)[0].endswith("forward + backward > 1")


def test_failures_and_what_was_skipped_have_a_line():
  rows = [
    row("dense", 1.0, None, skipped={"both": "needs 9 GiB"}),
    row("window", 0.1, None, errors={"forward": "RuntimeError: no"}),
  ]
  assert tables.failures(rows) == [
    "dense, xla, 512 tokens, both: needs 9 GiB",
    "window, xla, 512 tokens, forward: RuntimeError: no",
  ]
  assert tables.section("t", rows).failed
  assert not tables.section("t", rows[:1]).failed
  assert tables.section("t", [], ["too late"]).failed


def test_a_check_has_a_line_for_what_is_wrong():
  good = dict(
    implementation="xla",
    mask="segments",
    length=64,
    head_dim=8,
    dtype="float32",
    bias=False,
    verdict="ok",
    errors={"out": 1e-7},
  )
  bad = good | dict(verdict="WRONG", errors={"out": 0.5}, bias=True)
  section = tables.numeric_section([good, bad])
  assert section.failed
  assert "1 of 2" in section.text
  assert "5.0e-01" in section.text
  assert "xla segments float32, 64 x 8, bias: WRONG" in section.text
  assert not tables.numeric_section([good]).failed
