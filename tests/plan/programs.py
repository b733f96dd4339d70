"""Texts of compiled programs, as libtpu prints them, cut down."""

# A layer in a loop of six: its weights are cut from a stack and gathered, and
# what it makes is written into another stack.
LOOP = """\
HloModule jit_f, is_scheduled=true, num_partitions=4, frontend_attributes={}

FileNames
1 "program.py"

%cut (stack: bf16[6,512,128], i: s32[]) -> bf16[1,512,128] {
  %stack = bf16[6,512,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %i = s32[]{:T(128)} parameter(1)
  %zero = s32[]{:T(128)} constant(0), metadata={op_name="jit(f)/while"}
  ROOT %one = bf16[1,512,128]{2,1,0:T(8,128)(2,1)} dynamic-slice(%stack, %i, %zero, %zero), dynamic_slice_sizes={1,512,128}
}

%put (stack.1: bf16[6,256,512], i.1: s32[], x: bf16[256,512]) -> bf16[6,256,512] {
  %stack.1 = bf16[6,256,512]{2,1,0} parameter(0)
  %i.1 = s32[] parameter(1)
  %x = bf16[256,512]{1,0} parameter(2)
  %x.1 = bf16[1,256,512]{2,1,0} bitcast(%x)
  %zero.1 = s32[] constant(0)
  ROOT %new = bf16[6,256,512]{2,1,0} dynamic-update-slice(%stack.1, %x.1, %i.1, %zero.1, %zero.1)
}

%product (left: bf16[256,512], right: bf16[1,512,512]) -> bf16[256,512] {
  %left = bf16[256,512]{1,0} parameter(0)
  %right = bf16[1,512,512]{2,1,0} parameter(1)
  %square = bf16[512,512]{1,0} bitcast(%right)
  ROOT %out = bf16[256,512]{1,0} convolution(%left, %square), dim_labels=bf_io->bf
}

%body (state: (s32[], bf16[256,512], bf16[6,256,512], bf16[6,512,128])) -> (s32[], bf16[256,512], bf16[6,256,512], bf16[6,512,128]) {
  %state = (s32[]{:T(128)}, bf16[256,512]{1,0}, /*index=2*/bf16[6,256,512]{2,1,0}, bf16[6,512,128]{2,1,0}) parameter(0)
  %step = s32[]{:T(128)} get-tuple-element(%state), index=0
  %hidden = bf16[256,512]{1,0} get-tuple-element(%state), index=1
  %kept = bf16[6,256,512]{2,1,0} get-tuple-element(%state), index=2
  %weights = bf16[6,512,128]{2,1,0} get-tuple-element(%state), index=3
  %put_fusion = bf16[6,256,512]{2,1,0} fusion(%kept, %step, %hidden), kind=kLoop, calls=%put, backend_config={"window_config":{"estimated_cycles":"1000"}}
  %cut_fusion = bf16[1,512,128]{2,1,0} fusion(%weights, %step), kind=kLoop, calls=%cut, backend_config={"window_config":{"estimated_cycles":"200"}}
  %all-gather.11 = bf16[1,512,512]{2,1,0} all-gather(%cut_fusion), channel_id=7, replica_groups=mesh['axis_0'=1,'axis_1'=4] {'axis_1'}, dimensions={2}
  %product_fusion = bf16[256,512]{1,0} fusion(%hidden, %all-gather.11), kind=kOutput, calls=%product, backend_config={"window_config":{"estimated_cycles":"5000"}}
  ROOT %next = (s32[]{:T(128)}, bf16[256,512]{1,0}, bf16[6,256,512]{2,1,0}, bf16[6,512,128]{2,1,0}) tuple(%step, %product_fusion, %put_fusion, %weights)
}

%condition (state.1: (s32[], bf16[256,512], bf16[6,256,512], bf16[6,512,128])) -> pred[] {
  %six = s32[]{:T(128)} constant(6)
  %state.1 = (s32[]{:T(128)}, bf16[256,512]{1,0}, bf16[6,256,512]{2,1,0}, bf16[6,512,128]{2,1,0}) parameter(0)
  %step.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%step.1, %six), direction=LT
}

ENTRY %main (w: bf16[6,512,128], x.2: bf16[256,512]) -> bf16[256,512] {
  %w = bf16[6,512,128]{2,1,0:T(8,128)(2,1)} parameter(0), sharding={devices=[1,1,4]<=[4]}
  %x.2 = bf16[256,512]{1,0:T(8,128)(2,1)} parameter(1)
  %start = s32[]{:T(128)} constant(0)
  %room = bf16[6,256,512]{2,1,0} custom-call(), custom_call_target="AllocateBuffer"
  %first = (s32[]{:T(128)}, bf16[256,512]{1,0}, bf16[6,256,512]{2,1,0}, bf16[6,512,128]{2,1,0}) tuple(%start, %x.2, %room, %w)
  %while.24 = (s32[]{:T(128)}, bf16[256,512]{1,0}, bf16[6,256,512]{2,1,0}, bf16[6,512,128]{2,1,0}) while(%first), condition=%condition, body=%body, metadata={op_name="jit(f)/while"}
  %last = bf16[256,512]{1,0} get-tuple-element(%while.24), index=1
  ROOT %done = bf16[256,512]{1,0} copy(%last), backend_config={"window_config":{"estimated_cycles":"40"}}
}
"""  # noqa: E501


def program(*lines: str, others: str = "", partitions: int = 8) -> str:
  """Returns a program of some lines."""
  body = "\n".join(f"  {line}" for line in lines)
  return (
    f"HloModule jit_f, num_partitions={partitions}\n\n{others}\n"
    f"ENTRY %main (x: f32[8]) -> f32[8] {{\n{body}\n}}\n"
  )
