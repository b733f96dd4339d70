"""Walking through a tar archive, of which nothing is ever unpacked.

The ustar format of POSIX.1-1988, with the long names of POSIX.1-2001 (pax) and
of GNU tar. Members are found by reading headers alone; names are only compared
and shown. Links, devices and files with holes are refused.
"""

import dataclasses
import struct
from collections.abc import Callable, Iterator

BLOCK = 512
_MAX_EXTENSION = 2**20  # bytes of a long name, or of a list of attributes
# name, size, checksum, type, magic, prefix; what is between them is not needed.
_HEADER = struct.Struct("100s 24x 12s 12x 8s c 100x 8s 80x 155s 12x")
_REGULAR = (b"0", b"\0", b"7")
_IGNORED = (b"5", b"g", b"K")  # folders, attributes of all, names of links
_KINDS = {
  b"1": "a hard link",
  b"2": "a link",
  b"3": "a device",
  b"4": "a device",
  b"6": "a pipe",
  b"S": "a file with holes",
}


@dataclasses.dataclass(frozen=True)
class Member:
  """A regular file in an archive.

  Attributes:
    name: as the archive has it, which may be any path.
    header: where what describes it begins, a block before or more.
    start: where its bytes begin.
    size: how many there are.
  """

  name: str
  header: int
  start: int
  size: int


def members(read: Callable[[int, int], bytes], length: int) -> Iterator[Member]:
  """Yields the regular files of an archive or of a part of one.

  Args:
    read: (offset, size) -> that many bytes, or fewer at the end.
    length: of the archive, or of the part.

  Raises:
    ValueError: it is no such archive, ends too early, or has a link in it; the
      message says at which byte.
  """
  header, offset, name, size = 0, 0, None, None
  while offset < length:
    block = read(offset, BLOCK)
    if len(block) < BLOCK:
      raise ValueError(f"byte {offset}: the archive ends in a header")
    if not block.strip(b"\0"):
      return
    found, length_of, kind = _parse(block, offset)
    data = offset + BLOCK
    if kind in (b"x", b"L"):
      if length_of > _MAX_EXTENSION:
        raise ValueError(f"byte {offset}: a name of {length_of} bytes")
      extension = read(data, length_of)
      if len(extension) < length_of:
        raise ValueError(f"byte {data}: the archive ends in a long name")
      if kind == b"L":
        name = _text(extension.rstrip(b"\0"))
      else:
        named, sized = _attributes(extension, data)
        name, size = named or name, size if sized is None else sized
      offset = _after(data, length_of)
      continue
    length_of = length_of if size is None else size
    if kind in _REGULAR:
      if data + length_of > length:
        raise ValueError(
          f"byte {data}: the archive ends within {name or found!r}, which has "
          f"{length_of} bytes"
        )
      shown = found if name is None else name
      if not shown.endswith("/"):  # once the way to write a folder
        yield Member(shown, header, data, length_of)
    elif kind not in _IGNORED:
      what = _KINDS.get(kind, f"of the unknown type {kind!r}")
      raise ValueError(
        f"byte {offset}: expected plain files, {name or found!r:.99} is {what}"
      )
    offset = _after(data, length_of)
    if kind != b"g" and kind != b"K":
      header, name, size = offset, None, None


def end_of_members(
  read: Callable[[int, int], bytes], length: int, last: Member | None
) -> int:
  """Returns where the blocks of zeros begin that end an archive.

  Args:
    read: see `members`.
    length: of the archive.
    last: its last member.

  Raises:
    ValueError: there are none, so that members may be missing, or what follows
      them are no zeros.
  """
  end = offset = 0 if last is None else _after(last.start, last.size)
  while offset < length:  # folders and the like may follow the last file
    block = read(offset, BLOCK)
    if not block.strip(b"\0"):
      break
    offset = _after(offset + BLOCK, _parse(block, offset)[1])
  if offset + BLOCK > length:
    raise ValueError(f"byte {length}: the archive ends without its end mark")
  while offset < length:
    piece = read(offset, 2**20)
    if not piece or piece.strip(b"\0"):
      raise ValueError(f"byte {offset}: expected zeros behind the end mark")
    offset += len(piece)
  return end


def _after(start, size) -> int:
  """Returns where the block begins that follows `size` bytes."""
  return start + -(-size // BLOCK) * BLOCK


def _parse(block, offset) -> tuple[str, int, bytes]:
  """Returns name, size and type of a header."""
  if len(block) < BLOCK:
    raise ValueError(f"byte {offset}: the archive ends in a header")
  name, size, checksum, kind, magic, prefix = _HEADER.unpack(block)
  total = sum(block) - sum(block[148:156]) + 8 * 32
  if _octal(checksum, offset) != total:
    raise ValueError(
      f"byte {offset}: expected a tar header of the sum {total}, "
      f"got {checksum!r}"
    )
  name = _text(name.split(b"\0")[0])
  if magic.startswith(b"ustar\0") and prefix.strip(b"\0"):
    name = f"{_text(prefix.split(bytes(1))[0])}/{name}"
  return name, _number(size, offset), kind


def _number(field, offset) -> int:
  """Returns a size, in octal digits or as GNU writes large ones."""
  if field[0] in (0x80, 0xFF):
    value = int.from_bytes(field[1:], "big")
    if field[0] == 0xFF or value >= 2**62:
      raise ValueError(f"byte {offset}: a size of {field!r}")
    return value
  return _octal(field, offset)


def _octal(field, offset) -> int:
  digits = field.strip(b" \0")
  if digits.strip(b"01234567"):
    raise ValueError(f"byte {offset}: expected octal digits, got {field!r}")
  return int(digits or b"0", 8)


def _attributes(data, offset) -> tuple[str | None, int | None]:
  """Returns the path and size that pax attributes tell, if they do."""
  path = size = None
  while data.strip(b"\0"):
    digits, space, rest = data.partition(b" ")
    if not (space and len(digits) < 8 and digits.isdigit()):
      raise ValueError(f"byte {offset}: expected pax attributes")
    length = int(digits)
    line = data[len(digits) + 1 : length]
    key, equals, value = line.removesuffix(b"\n").partition(b"=")
    if length > len(data) or not (line.endswith(b"\n") and equals):
      raise ValueError(f"byte {offset}: expected pax attributes")
    if key == b"path":
      path = _text(value)
    elif key == b"size":
      if not (value.isdigit() and len(value) < 19):
        raise ValueError(f"byte {offset}: expected a size, got {value!r:.60}")
      size = int(value)
    elif key.startswith(b"GNU.sparse"):
      raise ValueError(f"byte {offset}: a file with holes")
    data = data[length:]
  return path, size


def _text(name: bytes) -> str:
  return name.decode("utf-8", "backslashreplace")
