"""Reading ahead: rows fetched by threads, handed out as batches in order."""

import itertools
import threading
from collections.abc import Callable, Iterator

import grain


class BatchIterator(Iterator):
  """`assemble([read(k), ..., read(k + rows - 1)])` for k = start, + rows, ...

  `read` runs in threads, ahead of time; `assemble` runs where `next` is called.
  An iterator that ends, fails or is closed leaves no thread behind; as a
  context manager it closes itself.
  """

  def __init__(
    self,
    read: Callable[[int], object],
    assemble: Callable[[list], object],
    *,
    start: int,
    stop: int,
    rows: int,
    num_threads: int,
    prefetch: int,
  ):
    """Reads nothing yet: the first `next` starts the threads.

    Args:
      read: from the number of a row to the row, never None.
      assemble: from `rows` rows to what the iterator gives.
      start: number of the first row.
      stop: number after the last row; `stop - start` is a multiple of `rows`.
      rows: rows a batch.
      num_threads: 0 reads where `next` is called.
      prefetch: how many batches are read ahead.
    """
    threads = self._threads = set()

    def tracked(row):
      threads.add(threading.current_thread())
      return read(row)

    dataset = grain.MapDataset.range(start, stop).map(tracked)
    options = grain.ReadOptions(
      num_threads=num_threads,
      prefetch_buffer_size=prefetch * rows if num_threads else 0,
    )
    self._rows = rows
    self._read = iter(dataset.to_iter_dataset(options))
    self._assemble = assemble

  def __next__(self):
    if self._read is None:
      raise StopIteration
    try:
      rows = list(itertools.islice(self._read, self._rows))
      if rows:
        return self._assemble(rows)
    except BaseException:
      self.close()
      raise
    self.close()
    raise StopIteration

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def __del__(self):
    # The garbage collector must not wait, nor a thread for itself.
    if getattr(self, "_read", None) is not None:
      self._read.close()

  def close(self) -> None:
    """Drops what was read ahead and waits for the threads to end."""
    if self._read is not None:
      self._read.close()
      self._read = None
    for thread in self._threads - {threading.current_thread()}:
      thread.join()
