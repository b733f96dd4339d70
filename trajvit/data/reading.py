"""Reading ahead, by threads or processes: batches handed out in order."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterator

import grain
from absl import flags, logging

RESTARTS = 3  # of workers that died, with no batch in between


class BatchIterator(Iterator):
  """`assemble([read(k), ..., read(k + rows - 1)])` for k = start, + rows, ...

  With worker processes each makes every n-th batch, whole; without them `read`
  runs in threads, ahead of time, and `assemble` where `next` is called. The
  items and their order are the same. An iterator that ends, fails or is closed
  leaves no thread and no process behind; as a context manager it closes itself.

  Attributes:
    restarts: how often the workers were started anew because one had died.
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
    num_workers: int,
    prefetch: int,
    finish: Callable = lambda item: item,
  ):
    """Reads nothing yet: the first `next` starts the threads or processes.

    Args:
      read: from the number of a row to the row, never None.
      assemble: from `rows` rows to a batch.
      start: number of the first row.
      stop: number after the last row; a multiple of `rows`, as `start` is.
      rows: rows a batch.
      num_threads: 0 reads where `next` is called.
      num_workers: processes that read, in place of the threads; `read` and
        `assemble` are then pickled. 0 for none.
      prefetch: how many batches are read ahead; by each of the workers.
      finish: from a batch to what the iterator gives, where `next` is called.
    """
    self._next, self._stop = start // rows, stop // rows
    if num_workers:
      make = functools.partial(
        _Workers, read, assemble, rows, num_workers, prefetch
      )
    else:
      make = functools.partial(
        _Threads, read, assemble, rows, num_threads, prefetch
      )
    self._make, self._finish = make, finish
    self._batches, self._closed = None, False
    self.restarts = self._restarts_in_a_row = 0

  def __next__(self):
    if self._closed:
      raise StopIteration
    if self._next >= self._stop:
      self.close()
      raise StopIteration
    try:
      item = self._finish(self._next_batch())
    except BaseException:
      self.close()
      raise
    self._next += 1
    return item

  def _next_batch(self):
    while True:
      if self._batches is None:
        self._batches = self._make(self._next, self._stop)
      try:
        batch = next(self._batches)
      except WorkerDied as died:
        self._batches.close()
        self._batches = None
        self._restarts_in_a_row += 1
        if self._restarts_in_a_row > RESTARTS:
          raise
        self.restarts += 1
        logging.warning("%s; the workers are started anew", died)
      else:
        self._restarts_in_a_row = 0
        return batch

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()

  def __del__(self):
    # The garbage collector must not wait, nor a thread for itself.
    if getattr(self, "_batches", None) is not None:
      self._batches.abandon()

  def close(self) -> None:
    """Drops what was read ahead and waits for threads and processes to end."""
    self._closed = True
    if self._batches is not None:
      self._batches.close()
      self._batches = None


class WorkerDied(RuntimeError):
  """A process that reads was killed, as for want of memory, or crashed."""


class _Threads:
  """Batches from `first` on, whose rows are read by threads."""

  def __init__(self, read, assemble, rows, num_threads, prefetch, first, stop):
    threads = self._threads = set()

    def tracked(row):
      threads.add(threading.current_thread())
      return read(row)

    dataset = grain.MapDataset.range(first * rows, stop * rows).map(tracked)
    options = grain.ReadOptions(
      num_threads=num_threads,
      prefetch_buffer_size=prefetch * rows if num_threads else 0,
    )
    self._rows, self._assemble = rows, assemble
    self._read = iter(dataset.to_iter_dataset(options))

  def __next__(self):
    return self._assemble(list(itertools.islice(self._read, self._rows)))

  def abandon(self):
    self._read.close()

  def close(self):
    self._read.close()
    for thread in self._threads - {threading.current_thread()}:
      thread.join()


class _Workers:
  """Batches from `first` on, made by processes."""

  def __init__(self, read, assemble, rows, num_workers, prefetch, first, stop):
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()  # the processes are told the flags
    dataset = grain.MapDataset.range(first, stop)
    dataset = dataset.map(_Whole(read, assemble, rows))
    dataset = dataset.to_iter_dataset(
      grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    )
    options = grain.MultiprocessingOptions(num_workers, prefetch)
    self._read = iter(dataset.mp_prefetch(options))

  def __next__(self):
    try:
      return next(self._read)
    except RuntimeError as error:
      if "terminated unexpectedly" in str(error):
        raise WorkerDied(str(error)) from error
      raise

  def abandon(self):
    self._read.close()

  def close(self):
    self._read.close()


class _Whole:
  """From the number of a batch to the batch."""

  def __init__(self, read, assemble, rows):
    self._read, self._assemble, self._rows = read, assemble, rows

  def __call__(self, batch):
    first = batch * self._rows
    rows = range(first, first + self._rows)
    return self._assemble([self._read(row) for row in rows])
