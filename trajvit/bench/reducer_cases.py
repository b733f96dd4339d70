"""Which reducers are compared, and where in the encoder each one sits."""

import dataclasses

from trajvit.reducers import REDUCERS
from trajvit.table import check_arguments

# What every place is compared with: the reducers that do not look.
BASELINE = "random_k"


@dataclasses.dataclass(frozen=True)
class Case:
  """A reducer in an encoder.

  Attributes:
    name: an entry in REDUCERS.
    place: "input", "middle" (after a third of the blocks) or "output".
    learned: whether it has parameters, and says nothing untrained.
    options: of the entry, beyond `k` and `grid`.
  """

  name: str
  place: str
  learned: bool = False
  options: dict = dataclasses.field(default_factory=dict)

  @property
  def label(self) -> str:
    """Returns what tables call it."""
    return f"{self.name} ({self.place})"

  def spec(self, k: int, grid: tuple[int, int, int]) -> dict:
    """Returns the spec of the reducer that leaves `k` tokens of a grid."""
    accepted = check_arguments(self.name, REDUCERS[self.name], self.options)
    offered = {"k": k, "grid": grid}
    offered = {key: x for key, x in offered.items() if key in accepted}
    return {"name": self.name, **offered, **self.options}

  def encoder(self, spec: dict, depth: int) -> dict:
    """Returns the `stages` and `reducers` of an encoder of `depth` blocks."""
    if self.place == "input":
      return {"stages": (depth,), "reducers": [spec]}
    if self.place == "output":
      return {"stages": (depth,), "reducers": [None, spec]}
    first = max(1, depth // 3)
    return {"stages": (first, depth - first), "reducers": [None, spec]}


# Where the papers have them: inside the encoder, or on its output.
INSIDE = (
  "average_pool",
  "center_clip",
  "dtome",
  "early_tom",
  "evad",
  "first_k",
  "representation_shift",
  "tempme",
  "testa",
  "tome",
  "uniform_k",
  "vid_tldr",
)
LEARNED_INSIDE = ("laco", "stts", "stts_scores", "token_learner", "vtm")
BEHIND = (
  "aot",
  "dart_dup",
  "dtd",
  "dycoke",
  "evs",
  "fastvid",
  "flashvid",
  "framefusion",
  "hiprune",
  "holitom",
  "idpruner",
  "llava_scissor",
  "matryoshka",
  "ppe",
  "prunevid",
  "sttm",
  "todre",
)
LEARNED_BEHIND = (
  "attention_pool",
  "blip3",
  "linvt",
  "parcel",
  "perceiver",
  "pvc",
  "token_flex",
  "vqtoken",
)
CASES = (
  *(Case(BASELINE, place) for place in ("input", "middle", "output")),
  Case("uniform_k", "input"),
  *(Case(name, "middle") for name in INSIDE),
  *(Case(name, "middle", learned=True) for name in LEARNED_INSIDE),
  *(Case(name, "output") for name in BEHIND),
  *(Case(name, "output", learned=True) for name in LEARNED_BEHIND),
)


def chosen(names: list[str] | None, *, learned: bool) -> tuple[Case, ...]:
  """Returns the cases of some reducers, and the baselines at their places.

  Args:
    names: of reducers; None is all.
    learned: whether those with parameters are among all.

  Raises:
    ValueError: a name that no case has.
  """
  known = sorted({case.name for case in CASES})
  unknown = sorted(set(names or ()) - set(known))
  if unknown:
    raise ValueError(
      f"no reducer {', '.join(unknown)} to compare; known: {', '.join(known)}"
    )
  if names is None:
    found = [case for case in CASES if learned or not case.learned]
  else:
    found = [case for case in CASES if case.name in names]
  places = {case.place for case in found}
  return tuple(
    case
    for case in CASES
    if case in found or (case.name == BASELINE and case.place in places)
  )
