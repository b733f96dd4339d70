"""Reading the text of compiled programs."""

import jax
import jax.numpy as jnp
import pytest
from programs import LOOP, program

from trajvit.plan.hlo import num_bytes, parse, parts


def test_computations_and_instructions():
  read = parse(LOOP)
  assert read.entry == "main" and read.partitions == 4
  assert set(read.computations) == {
    *("cut", "put", "product", "body", "condition", "main")
  }
  fusion = read.computations["body"]["put_fusion"]
  assert fusion.op == "fusion" and fusion.called == ("put",)
  assert fusion.operands == ("kept", "step", "hidden")
  assert fusion.type == "bf16[6,256,512]{2,1,0}"
  assert fusion.attribute(r'cycles":"(\d+)"') == "1000"
  assert [x.name for x in read.computations["body"].values() if x.is_root] == [
    "next"
  ]


def test_steps_are_taken_as_often_as_their_loop_runs():
  times = {step.name: n for step, _, n in parse(LOOP).steps()}
  assert times["product_fusion"] == 6 and times["done"] == 1
  assert "while.24" not in times and "out" not in times


def test_a_known_number_of_trips_goes_before_the_limit():
  known = '(%first), backend_config={"known_trip_count":{"n":"24"}},'
  text = LOOP.replace("while(%first),", f"while{known}")
  times = {step.name: n for step, _, n in parse(text).steps()}
  assert times["product_fusion"] == 24


def test_trips_of_loops_in_loops_multiply():
  @jax.jit
  def f(x):
    def outer(x, _):
      return jax.lax.scan(lambda x, _: (jnp.sin(x @ x), None), x, None, 3)[0], 0

    return jax.lax.scan(outer, x, None, 5)[0]

  text = f.lower(jnp.ones((64, 64))).compile().as_text()
  assert max(times for _, _, times in parse(text).steps()) == 15


@pytest.mark.parametrize(
  "of_type, size",
  [
    ("f32[]", 4),
    ("bf16[6,512,128]{2,1,0:T(8,128)(2,1)}", 2 * 6 * 512 * 128),
    ("(s32[]{:T(128)}, /*index=1*/pred[3]{0}, u8[5])", 4 + 3 + 5),
    ("f8e4m3fn[10]", 10),
    ("s4[10]", 5),
    ("f64[2,0]", 0),
    ("((f32[2], f32[3]), u32[])", 24),
    ("token[]", 0),
  ],
)
def test_bytes_of_types(of_type, size):
  assert num_bytes(of_type) == size


def test_memory_of_the_chip_itself_can_be_left_out():
  of_type = "(f32[4]{0:T(128)S(1)}, f32[8]{0:T(128)}, f32[16]{0:S(0)})"
  assert num_bytes(of_type) == 4 * 28
  assert num_bytes(of_type, hbm_only=True) == 4 * 24


def test_members_of_tuples():
  assert parts("f32[2]{0}") == ["f32[2]{0}"]
  nested = "((f32[2,3]{1,0}, f32[3]), bf16[4]{0:T(8,128)}, u32[])"
  assert parts(nested) == [
    *("(f32[2,3]{1,0}, f32[3])", "bf16[4]{0:T(8,128)}", "u32[]")
  ]


def test_every_branch_of_a_choice_is_a_step():
  branch = "%{0} (p.{0}: f32[8]) -> f32[8] {{\n  %p.{0} = f32[8] parameter(0)\n  ROOT %{0}.1 = f32[8] negate(%p.{0})\n}}\n"  # noqa: E501
  text = program(
    "%x = f32[8] parameter(0)",
    "%i = s32[] constant(1)",
    "ROOT %y = f32[8] conditional(%i, %x, %x), branch_computations={%a, %b}",
    others=branch.format("a") + branch.format("b"),
  )
  names = {step.name for step, _, _ in parse(text).steps()}
  assert {"a.1", "b.1"} <= names


def test_what_is_no_program_is_refused():
  with pytest.raises(ValueError, match="no ENTRY in the text"):
    parse("nothing")
