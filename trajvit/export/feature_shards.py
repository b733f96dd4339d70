"""Files of embeddings, a row a clip: NumPy, Parquet and ArrayRecord.

Every shard has `name`, `clip_id`, `label` (-1 = unknown) and `embedding` of its
clips, in the order of their source.
"""

from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np

from trajvit.table import Table

COLUMNS = ("name", "clip_id", "label", "embedding")


def write_npz(path: Path, columns: dict) -> None:
  """Writes arrays; see `read_npz`."""
  with open(path, "wb") as file:
    np.savez(file, **columns)


def read_npz(path: Path) -> dict:
  """Returns the columns of a shard."""
  with np.load(path, allow_pickle=False) as archive:
    return {name: archive[name] for name in COLUMNS}


def write_parquet(path: Path, columns: dict) -> None:
  """Writes a table whose embeddings are lists of fixed length."""
  import pyarrow  # noqa: PLC0415
  import pyarrow.parquet  # noqa: PLC0415

  embedding = columns["embedding"]
  flat = pyarrow.array(embedding.reshape(-1))
  table = {name: pyarrow.array(columns[name]) for name in COLUMNS[:-1]}
  table["embedding"] = pyarrow.FixedSizeListArray.from_arrays(
    flat, embedding.shape[1]
  )
  pyarrow.parquet.write_table(pyarrow.table(table), path)


def read_parquet(path: Path) -> dict:
  """Returns the columns of a shard."""
  import pyarrow.parquet  # noqa: PLC0415

  table = pyarrow.parquet.read_table(path)
  rows = table["embedding"].combine_chunks()
  width = rows.type.list_size
  columns = {name: table[name].to_numpy() for name in COLUMNS[:-1]}
  columns["name"] = columns["name"].astype(str)
  flat = rows.values.to_numpy(zero_copy_only=False)
  return {**columns, "embedding": flat.reshape(-1, width)}


def write_array_record(path: Path, columns: dict) -> None:
  """Writes a record a clip, a map in msgpack, the embedding as its bytes."""
  from array_record.python import array_record_module  # noqa: PLC0415

  writer = array_record_module.ArrayRecordWriter(str(path), "group_size:1")
  try:
    for name, clip_id, label, embedding in zip(
      *(columns[column] for column in COLUMNS), strict=True
    ):
      row = {
        "name": str(name),
        "clip_id": int(clip_id),
        "label": int(label),
        "embedding": embedding.astype("<f4").tobytes(),
      }
      writer.write(msgpack.packb(row))
  finally:
    writer.close()


def read_array_record(path: Path) -> dict:
  """Returns the columns of a shard."""
  from array_record.python import array_record_module  # noqa: PLC0415

  reader = array_record_module.ArrayRecordReader(str(path))
  try:
    rows = [msgpack.unpackb(row) for row in reader.read_all()]
  finally:
    reader.close()
  vectors = [np.frombuffer(row["embedding"], "<f4") for row in rows]
  return {
    "name": np.array([row["name"] for row in rows], str),
    "clip_id": np.array([row["clip_id"] for row in rows], np.int32),
    "label": np.array([row["label"] for row in rows], np.int32),
    "embedding": np.stack(vectors),
  }


# name -> (writer, reader); the name is also the suffix of the files.
SHARD_FORMATS: dict[str, tuple[Callable, Callable]] = Table(
  "format of features",
  {
    "npz": (write_npz, read_npz),
    "parquet": (write_parquet, read_parquet),
    "arrayrecord": (write_array_record, read_array_record),
  },
)
