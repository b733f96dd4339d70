"""A trained run with a reducer put into its encoder."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import optax

from trajvit.bench.reducer_cases import Case
from trajvit.encoders.restage import restage
from trajvit.layers.sizes import transformer_size
from trajvit.models import build_model
from trajvit.objectives import build_objectives
from trajvit.training.functional import functional
from trajvit.training.restore import RestoredRun
from trajvit.types import Batch

LEARNING_RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class ReducedRun:
  """The functions and the parameters of a model.

  Attributes:
    apply: `apply(variables, batch, key=None) -> outputs`.
    variables: the run's, and initial values of what the run does not have.
  """

  apply: Callable
  variables: dict

  def embed(self, variables: dict, batch: Batch) -> tuple:
    """Returns the embeddings [B, E] of the clips, and {name: scalar}."""
    outputs = self.apply(variables, dataclasses.replace(batch, text=None))
    return outputs["video_embedding"], outputs["metrics"]

  def loss_and_gradient(self, variables: dict, batch: Batch, key: jax.Array):
    """Returns the contrastive loss of a training batch, and its gradient."""

    def loss(params):
      outputs = self.apply(variables | {"params": params}, batch, key)
      names = {"contrastive": {}}
      if any(aux.get("losses") for aux in _reducers(outputs)):
        names["reduction"] = {}
      return build_objectives(names)(outputs, batch)[0]

    return jax.value_and_grad(loss)(variables["params"])


def token_grid(run: RestoredRun) -> tuple[int, int, int]:
  """Returns the (t, h, w) of a run's patches, from the model it builds.

  Raises:
    ValueError: its tokens are not patches on a grid.
  """
  tokenizer = run.build().tokenizer
  grid = getattr(tokenizer, "grid", ())
  if len(grid) != 3:
    raise ValueError(
      "reducers are compared on an encoder of space-time patches, got a run of "
      f"{type(tokenizer).__name__}"
    )
  return tuple(grid)


def with_reducer(run: RestoredRun, case: Case, spec: dict) -> ReducedRun:
  """Returns the run with a reducer inside, whose parameters are untrained.

  Args:
    run: of the model `video_text` with the encoder `vit`, without reducers.
    case: says where the reducer sits.
    spec: of the reducer.

  Raises:
    ValueError: the run has reducers already.
  """
  model = dict(run.config.model)
  encoder = dict(model["encoder"])
  if any(encoder.get("reducers") or ()):
    raise ValueError(f"the run has reducers already: {encoder['reducers']}")
  names = ("width", "depth", "num_heads", "mlp_dim")
  size = transformer_size(
    encoder.get("variant", "B"), **{name: encoder.get(name) for name in names}
  )
  encoder |= case.encoder(spec, size.depth)
  context = dict(run.meta["model_context"])
  context["clip_shape"] = tuple(context["clip_shape"])
  init, apply = functional(
    functools.partial(
      build_model, model | {"encoder": encoder}, seed=0, **context
    )
  )
  variables = init()
  trained = run.variables["params"]
  stages = restage(trained["encoder"]["stages"], encoder["stages"])
  merged = trained["encoder"] | {"stages": stages}
  initial = variables["params"]["encoder"]
  params = trained | {"encoder": initial | merged}
  return ReducedRun(apply, variables | {"params": params})


def trained_for(
  reduced: ReducedRun, batches, steps: int, seed: int
) -> ReducedRun:
  """Returns the model after some steps on training batches, by Adam.

  Args:
    reduced: the model.
    batches: an iterator over (Batch, info).
    steps: how many.
    seed: of what the model draws.
  """
  optimizer = optax.adam(LEARNING_RATE)

  @jax.jit
  def step(variables, state, batch, key):
    _, gradient = reduced.loss_and_gradient(variables, batch, key)
    updates, state = optimizer.update(gradient, state)
    params = optax.apply_updates(variables["params"], updates)
    return variables | {"params": params}, state

  variables, key = reduced.variables, jax.random.key(seed)
  state = optimizer.init(variables["params"])
  for number in range(steps):
    batch, _ = next(batches)
    turn = jax.random.fold_in(key, number)
    variables, state = step(variables, state, batch, turn)
  return dataclasses.replace(reduced, variables=variables)


def _reducers(outputs):
  return outputs["aux"]["encoder"]["reducers"]
