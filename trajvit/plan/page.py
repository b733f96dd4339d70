"""A plan as text for a terminal."""

from trajvit.plan.bracket import Bracket, Pace
from trajvit.plan.fit import Fit
from trajvit.plan.remedies import Remedy
from trajvit.plan.target import Target
from trajvit.plan.worker import Compiled

_GIB = 2**30


def heading(config: str, overrides: list[str], target: Target) -> str:
  """Returns what is planned, in a line."""
  chips = f"{target.num_chips} chips"
  if target.chip.devices > 1:
    chips += f", {target.num_devices} devices"
  return f"{' '.join([config, *overrides])} on {target}: {chips}"


def body(compiled: Compiled, fit: Fit, bracket: Bracket | None) -> str:
  """Returns all there is to say of a compiled step, in lines."""
  lines = [("mesh", _mesh(compiled)), ("memory", _memory(compiled, fit))]
  lines += _work(compiled)
  for each in compiled.collectives:
    lines.append(
      (
        "collective",
        f"{each.kind} over {each.group} devices, {each.count} a step, "
        f"{_bytes(each.bytes)} in all",
      )
    )
  if bracket is not None:
    lines += _time(bracket)
  seconds = ", ".join(
    f"{name} {value:.0f} s" for name, value in compiled.seconds.items()
  )
  compilers = ", ".join(
    f"{name} {compiled.versions[name]}"
    for name in ("jax", "libtpu", "jax-cuda13-plugin", "jax-cuda12-plugin")
    if name in compiled.versions
  )
  lines.append(("compiled", f"{seconds}; {compilers}"))
  return "\n".join(f"  {name:<11}{text}" for name, text in lines)


def verdict(fit: Fit) -> str:
  """Returns whether a step fits, and by how much."""
  if fit.fits:
    left = f"{-fit.excess / _GIB:.2f} GiB left"
    if fit.allocated is None or fit.allocated >= fit.available:
      return f"fits, up to {left}"
    least = (fit.available - fit.allocated) / _GIB
    return f"fits, {least:.2f} to {left}"
  return f"does not fit: at least {fit.excess / _GIB:.2f} GiB too much"


def remedy(tried: Remedy, fit: Fit) -> str:
  """Returns what a change came to, in a line."""
  return f"with {tried} ({tried.cost}): {verdict(fit)}"


def _mesh(compiled):
  sizes = [f"{axis} {n}" for axis, n in compiled.mesh.items() if n > 1]
  return " x ".join(sizes) or "one device"


def _memory(compiled, fit):
  state = f"state {compiled.state_bytes / _GIB:.2f}"
  memory, available = compiled.memory, f"{fit.available / _GIB:.2f} GiB"
  if memory is None:
    needed = f"at least {fit.needed / _GIB:.2f}"
    return f"{state}, needs {needed} of {available}: {verdict(fit)}"
  return (
    f"{state}, arguments {memory.arguments / _GIB:.2f}, temporaries "
    f"{memory.temporaries / _GIB:.2f}, peak {memory.peak / _GIB:.2f} of "
    f"{available} a device: {verdict(fit)}"
  )


def _work(compiled):
  flops = compiled.flops
  text = f"{_flops(flops.total)} a step on all devices"
  if flops.pallas:
    text += f", {_flops(flops.pallas)} of it in kernels"
  text += f"; {_flops(compiled.model_flops)} if nothing is computed twice"
  lines = [("FLOPs", text)]
  left_out = flops.unknown_calls + flops.unbounded_loops
  if left_out:
    lines.append(("", f"{left_out} calls and loops could not be counted"))
  if compiled.traffic is not None:
    moved = _bytes(compiled.traffic.bytes)
    lines.append(("bytes", f"{moved} a step and device, to and from memory"))
  return lines


def _time(bracket):
  ends = [bracket.fastest, bracket.slowest]
  if bracket.slowest is None:
    ends = ends[:1]

  def between(show):
    shown = [show(pace) for pace in ends]
    return " to ".join(shown) if len(shown) > 1 else f"at best {shown[0]}"

  step = between(lambda pace: _seconds(pace.step_seconds))
  return [
    ("step", f"{step}, collectives and reading not counted"),
    ("", f"the first is bound by {bracket.bound}"),
    ("MFU", between(lambda pace: f"{100 * pace.mfu:.1f} %")),
    ("clips/s", between(lambda pace: f"{pace.clips_per_second:,.0f}")),
    ("tokens/s", between(lambda pace: f"{pace.tokens_per_second:,.0f}")),
    ("run", between(_run)),
  ]


def _run(pace: Pace) -> str:
  return f"{pace.run_hours:.1f} h"


def _seconds(value):
  return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"


def _flops(value):
  for name, unit in (("P", 1e15), ("T", 1e12)):
    if value >= unit:
      return f"{value / unit:.3g} {name}FLOP"
  return f"{value / 1e9:.3g} GFLOP"


def _bytes(value):
  for name, unit in (("G", 1e9), ("M", 1e6)):
    if value >= unit:
      return f"{value / unit:.3g} {name}B"
  return f"{value / 1e3:.3g} kB"
