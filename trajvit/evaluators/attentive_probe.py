"""An attentive probe of the tokens of a frozen encoder."""

import numpy as np

from trajvit.evaluators.attentive_fit import fit_heads, stacked_logits
from trajvit.evaluators.bootstrap import check_resamples, estimate, means
from trajvit.evaluators.embed import embed_both
from trajvit.evaluators.features import Features
from trajvit.evaluators.training_clips import TrainingClips


class AttentiveProbe:
  """How often an attentive head on the encoded tokens finds the class.

  Heads of several learning rates are trained side by side, see
  `attentive_fit`. Which of them counts is decided on clips that are held out of
  the training ones, never on the clips that are tested.

  All tokens are held in memory at once: n * N * D * 2 bytes, 4.6 GB for 20 000
  clips of 150 tokens of width 768.

  Attributes:
    train_loader: of the training source, or None.
  """

  wanted = ("tokens", "tokens_mask")

  def __init__(
    self,
    loader,
    *,
    train: dict | None = None,
    blocks: int = 1,
    learning_rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3),
    num_heads: int = 8,
    epochs: int = 20,
    batch_size: int = 64,
    weight_decay: float = 1e-2,
    held_out: float = 0.1,
    folds: int = 4,
    seed: int = 0,
    bootstrap: int = 0,
    build_loader=None,
  ):
    """Checks the arguments; nothing is read yet.

    Args:
      loader: `evaluate()` yields (Batch, BatchInfo) with labels.
      train: spec of the source to train on; None takes folds.
      blocks: 1 is a learned query alone; 4 has three blocks of self-attention
        in front, as V-JEPA 2 is probed.
      learning_rates: one head for each.
      num_heads: K, divides the width of the tokens.
      epochs: how often each clip is seen.
      batch_size: clips in a step.
      weight_decay: decoupled.
      held_out: share of the training clips that choose the learning rate; at
        least one clip.
      folds: how many parts the clips are cut into.
      seed: of the initial values, the order and who is held out.
      bootstrap: resamples for intervals, see `evaluators.bootstrap`.
      build_loader: see TrainingClips.

    Raises:
      ValueError: as TrainingClips, a number out of range, or `bootstrap` is
        negative.
    """
    for name, value in (
      ("blocks", blocks),
      ("num_heads", num_heads),
      ("epochs", epochs),
      ("batch_size", batch_size),
    ):
      if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    if not learning_rates or min(learning_rates) <= 0:
      raise ValueError(
        f"learning_rates must be numbers above 0, got {learning_rates}"
      )
    if not 0 < held_out < 1:
      raise ValueError(f"held_out must be between 0 and 1, got {held_out}")
    self.loader, self.held_out, self.seed = loader, held_out, seed
    self.learning_rates = tuple(learning_rates)
    self.bootstrap = check_resamples(bootstrap)
    self._heads = dict(num_heads=num_heads, batch_size=batch_size)
    self._fit = dict(
      blocks=blocks, epochs=epochs, weight_decay=weight_decay, seed=seed
    )
    self._clips = TrainingClips(
      loader, train=train, folds=folds, build_loader=build_loader
    )
    self.train_loader = self._clips.loader

  def run(self, predict, variables) -> dict[str, float]:
    """Returns `score` of all clips that can be read, see `embed.embed`.

    Args:
      predict: `(variables, batch) -> outputs` with `encoded` Tokens.
      variables: of the model.
    """
    return self.score(*embed_both(self, predict, variables))

  def score(
    self, features: Features, train: Features | None = None
  ) -> dict[str, float]:
    """Returns the metrics.

    Args:
      features: "tokens" and "tokens_mask".
      train: of the clips of `train_loader`, likewise.

    Returns:
      accuracy: percent of the labelled clips, by the head of the learning rate
        that is best on the clips held out; of equally good ones the one that
        finds the right class likelier.
      accuracy@<rate>: by each head.
      <metric>_low, <metric>_high: their 95 % intervals, with `bootstrap`; the
        heads stay as they are.
      chance, n_evaluated, n_missing, ...: see `TrainingClips.counts`.

    Raises:
      ValueError: as TrainingClips; fewer than two clips to train on; or
        `num_heads` does not divide the width.
      FloatingPointError: a token, or every loss, is not finite.
    """
    width, heads = (
      features.outputs["tokens"].shape[-1],
      self._heads["num_heads"],
    )
    if width % heads:
      raise ValueError(f"num_heads must divide the width {width}, got {heads}")
    names = ("accuracy", *(f"accuracy@{x:g}" for x in self.learning_rates))
    hits = np.zeros((len(names), len(features)))
    tested = []
    for split in self._clips.splits(features, train):
      tested.append(split.test_rows)
      found = 100.0 * self._split_hits(split)
      hits[:, split.test_rows] = found
    rows = np.sort(np.concatenate(tested))
    metrics = estimate(
      means(dict(zip(names, hits[:, rows], strict=True))),
      features.clip_id[rows],
      self.bootstrap,
    )
    return metrics | self._clips.counts(features, train)

  def _split_hits(self, split) -> np.ndarray:
    """Who is right of the chosen head and of all, [1 + H, tested] bool."""
    fitted, held = self._hold_out(split.train_rows)
    for features in (split.train, split.test):
      features.finite("tokens")
    known = split.train.label
    params = fit_heads(
      *_tokens(split.train),
      known,
      fitted,
      num_classes=int(known.max()) + 1,
      learning_rates=self.learning_rates,
      **self._heads,
      **self._fit,
    )

    def judged(features, rows):
      """Who is right, and how likely the right class is, [H, rows] each."""
      found = stacked_logits(params, *_tokens(features), rows, **self._heads)
      labels = features.label[rows]
      known = labels < found.shape[-1]  # others nobody could learn
      at = np.where(known, labels, 0)[None, :, None]
      chosen = np.take_along_axis(found, at, -1)[..., 0]
      likely = chosen - np.logaddexp.reduce(found, -1)
      return found.argmax(-1) == labels, likely

    right, likely = (x.mean(1) for x in judged(split.train, held))
    best = np.lexsort((likely, right))[-1]
    hits, _ = judged(split.test, split.test_rows)
    return np.concatenate([hits[best][None], hits])

  def _hold_out(self, rows):
    """The clips to train heads on, and those that choose among them."""
    if len(rows) < 2:
      raise ValueError(
        f"an attentive probe needs 2 clips to train on, got {len(rows)}"
      )
    order = np.random.default_rng(self.seed).permutation(rows)
    count = max(1, int(self.held_out * len(rows)))
    return order[count:], order[:count]


def _tokens(features):
  return features.outputs["tokens"], features.outputs["tokens_mask"]
