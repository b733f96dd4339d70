"""The smallest run that real processes of train.py make in seconds."""


def smoke_arguments(steps: int, every: int, *, clips: int = 8) -> list[str]:
  """Returns arguments of train.py: the smoke config, shrunk.

  Args:
    steps: of the run.
    every: steps from one checkpoint to the next.
    clips: of the evaluation, in batches of 4.
  """
  return [
    f"--config=configs/smoke_trajectory.py:steps={steps},batch_size=4",
    "--config.data.clip.frames=4",
    "--config.data.clip.size=32",
    "--config.data.clip.track_grid=8",
    "--config.data.train.count=64",
    "--config.model.encoder.depth=1",
    "--config.model.text.depth=1",
    f"--config.evals.retrieval.data.count={clips}",
    f"--config.checkpoint.every={every}",
  ]
