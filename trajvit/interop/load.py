"""From a state dict to a model, and back."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from trajvit.export import safetensors
from trajvit.interop.convert import Report, convert, convert_back
from trajvit.interop.kinds import KINDS, Plan
from trajvit.interop.state_dict import SAFETENSORS, read_state_dict
from trajvit.models import build_model
from trajvit.table import check_arguments
from trajvit.training.config import read_config
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun


@dataclasses.dataclass(frozen=True)
class ConvertedRun(RestoredRun):
  """A model whose weights come from elsewhere, trained for 0 steps here.

  Attributes:
    origin: {"kind", "config", "compat", "shapes"}, of which its plan is made
      again; plain values.
    plan: what the state dict became.
    carried: arrays of theirs that the model cannot give back.
  """

  origin: dict
  plan: Plan
  carried: dict


def load_torch(
  kind: str,
  state_dict: Mapping[str, np.ndarray] | str | Path,
  config: Mapping | None = None,
  *,
  compat: bool = False,
  allow: Sequence[str] = (),
) -> tuple[ConvertedRun, Report]:
  """Returns a model with the weights of a PyTorch one.

  Sizes are read from the arrays; what they cannot tell is in the config.

  Args:
    kind: a name in KINDS.
    state_dict: arrays by name, of NumPy or on the CPU of PyTorch; or a file, as
      `read_state_dict` reads it.
    config: keywords of the kind's plan, such as `num_heads` or `frames`.
    compat: whether to do as the code that the weights come from, where that is
      not what it means to do.
    allow: see `convert`.

  Returns:
    The model, to be used as a restored run, and what became of every array.

  Raises:
    ValueError: an unknown kind, a key of the config that it does not read,
      sizes that contradict each other, or whatever `convert` refuses.
  """
  if isinstance(state_dict, str | Path):
    config = config_of(kind, state_dict, config or {})
    state_dict = read_state_dict(state_dict)
  arrays = {name: np.asarray(x) for name, x in state_dict.items()}
  origin = {
    "kind": kind,
    "config": dict(config or {}),
    "compat": compat,
    "shapes": {name: list(x.shape) for name, x in arrays.items()},
  }
  plan = plan_of(origin)
  run_config = read_config(plain_config(plan))

  def build():
    return build_model(run_config.model, seed=0, **plan.context)

  init, apply = functional(build)
  shapes = jax.eval_shape(init)
  variables, report = convert(plan.table, arrays, shapes, allow=allow)
  variables = _filled(variables, init)
  run = ConvertedRun(
    config=run_config,
    build=build,
    apply=apply,
    variables=jax.tree.map(jnp.asarray, variables),
    step=0,
    ema=False,
    meta={"model_context": plan.context},
    origin=origin,
    plan=plan,
    carried=report.carried,
  )
  return run, report


def config_of(kind: str, path: str | Path, config: Mapping) -> dict:
  """Returns a config, and below it what the file says of itself.

  Args:
    kind: a name in KINDS.
    path: of the weights.
    config: what counts where both say something; dicts in it are gone into.

  Raises:
    ValueError: a header that is damaged.
  """
  read = KINDS[kind].header
  if read is None or Path(path).suffix != SAFETENSORS:
    return dict(config)
  return _merged(read(safetensors.read_metadata(path)), config)


def to_torch(
  plan: Plan, variables: dict, carried: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Returns a state dict that the code of the weights' origin can load.

  Args:
    plan: of the model.
    variables: {"params", "batch_stats"}, as converted or trained since.
    carried: what the model could not hold.
  """
  return convert_back(plan.table, jax.device_get(variables), carried)


def run_reference_inputs(
  run: ConvertedRun, video, mask=None, graph=None
) -> jax.Array:
  """Returns what the code of the weights' origin returns for its own inputs.

  Args:
    run: of a kind that has a `reference`.
    video: [B, T, 3, H, W] float32, normalised.
    mask: [B, T, h, w] integers, ids that hold for one frame, 0 = none; or None
      where the kind reads none.
    graph: [B, M, T] integers, the id of a trajectory in every frame, 0 =
      absent; or None likewise.

  Raises:
    ValueError: the kind has no such inputs, or they do not fit together.
  """
  name = run.origin["kind"]
  if KINDS[name].reference is None:
    raise ValueError(f"kind {name!r} has no reference inputs")
  model = model_of(run)
  return KINDS[name].reference(model, run.origin["compat"], video, mask, graph)


def model_of(run: RestoredRun) -> nnx.Module:
  """Returns the module of a run with its weights in it."""
  graphdef, params, stats = nnx.split(
    nnx.eval_shape(run.build), nnx.Param, nnx.BatchStat
  )
  nnx.replace_by_pure_dict(params, run.variables["params"])
  nnx.replace_by_pure_dict(stats, run.variables["batch_stats"])
  return nnx.merge(graphdef, params, stats)


def plan_of(origin: dict) -> Plan:
  """Returns the plan for a state dict.

  Args:
    origin: see `ConvertedRun`.

  Raises:
    ValueError: see `load_torch`.
  """
  kind, config = KINDS[origin["kind"]], origin["config"]
  known = check_arguments(
    f"the config of {origin['kind']!r}", kind.plan, config
  )
  if bad := sorted({"shapes", "compat"} & known & config.keys()):
    raise ValueError(f"{', '.join(bad)}: not for the config to say")
  shapes = {name: tuple(shape) for name, shape in origin["shapes"].items()}
  return kind.plan(shapes, compat=origin["compat"], **config)


def plain_config(plan: Plan) -> dict:
  """Returns the config of a run that has trained nothing, plain values."""
  frames, size, _ = plan.context["clip_shape"]
  data = {
    "batch_size": 1,
    "clip": {
      "frames": frames,
      "size": size,
      "track_grid": size // 4,
      "max_tracks": plan.context["max_tracks"],
      "sampler": "middle",
    },
  }
  if plan.text is not None:
    data["text"] = plan.text
  return {
    "seed": 0,
    "total_steps": 1,
    "log_every": 1,
    "data": data,
    "model": plan.model,
    "objectives": {},
    "optimizer": {"learning_rate": 0.0, "warmup_steps": 0},
    "checkpoint": {"every": 1},
  }


def _merged(below, above):
  """Two nested dicts in one, whose values are those above where it has any."""
  found = dict(below)
  for name, value in above.items():
    both = isinstance(value, Mapping) and isinstance(found.get(name), Mapping)
    found[name] = _merged(found[name], value) if both else value
  return found


def _filled(variables, init):
  """Variables with initial values where there are only shapes.

  Only those are computed: a whole model takes long to compile.
  """
  leaves, tree = jax.tree.flatten(variables)
  empty = [isinstance(x, jax.ShapeDtypeStruct) for x in leaves]
  if not any(empty):
    return variables

  @jax.jit
  def wanted():
    found = jax.tree.leaves(init())
    return [x for x, chosen in zip(found, empty, strict=True) if chosen]

  values = iter(jax.device_get(wanted()))
  found = [
    next(values) if chosen else x
    for x, chosen in zip(leaves, empty, strict=True)
  ]
  return jax.tree.unflatten(tree, found)
