"""One line on the terminal: step, time left, loss, speed, padding, waiting."""

import shutil
import sys

import tqdm


class Progress:
  """A progress line; nothing is printed where stderr is not a terminal.

  Args:
    total_steps: length of the run.
    step: steps done.
  """

  def __init__(self, total_steps: int, step: int):
    terminal = shutil.get_terminal_size()  # 80 x 24 where it has no size
    self._bar = tqdm.tqdm(
      total=total_steps,
      initial=step,
      disable=not sys.stderr.isatty(),
      ncols=terminal.columns,
      nrows=terminal.lines,
      bar_format="step {n_fmt}/{total_fmt}, eta {remaining}{postfix}",
    )

  def update(self, metrics: dict, timings: dict) -> None:
    """Advances by one step.

    Args:
      metrics: of the step.
      timings: of the last steps, as in timings.jsonl.
    """
    shown = [
      f"loss {metrics['train/loss']:.3f}",
      f"{timings['time/clips_per_second']:.0f} clips/s",
      f"{metrics['train/tokens_per_clip']:.1f} tokens/clip",
      f"padding {metrics['train/padding_%']:.0f}%",
      f"data wait {timings['time/data_wait_%']:.0f}%",
    ]
    self._bar.set_postfix_str(", ".join(shown), refresh=False)
    self._bar.update()

  def say(self, text: str) -> None:
    """Prints a line above the progress line, on a terminal or not."""
    self._bar.write(text, file=sys.stderr)

  def close(self) -> None:
    """Leaves the line as it is."""
    self._bar.close()
