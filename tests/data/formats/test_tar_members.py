"""Walking through tar archives, against the standard library's writer."""

import io
import tarfile

import pytest
from fuzzing import fuzz
from hypothesis import given
from hypothesis import strategies as st

from trajvit.data.formats.tar_members import end_of_members, members

LONG = "folder/" * 30 + "a.mp4"
FILES = {
  "a.mp4": b"one",
  "b/c.json": b"",
  "ä ö.txt": b"x" * 512,
  LONG: b"y" * 1500,
  "f" * 120 + ".txt": b"z",
}


def _archive(files=FILES, kind=tarfile.GNU_FORMAT, infos=()):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
    folder = tarfile.TarInfo("b/")
    folder.type = tarfile.DIRTYPE
    archive.addfile(folder)
    for name, data in files.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
    for info in infos:
      archive.addfile(info)
  return file.getvalue()


def _walk(data):
  """What is found in an archive: name -> bytes."""

  def read(offset, size):
    return data[offset : offset + size]

  found = list(members(read, len(data)))
  end_of_members(read, len(data), found[-1] if found else None)
  return {m.name: read(m.start, m.size) for m in found}


@pytest.mark.parametrize(
  "kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
def test_all_files_are_found_in_every_format(kind):
  files = dict(FILES)
  if kind == tarfile.USTAR_FORMAT:  # which has no longer names
    files = {name: data for name, data in files.items() if len(name) < 100}
    files["p" * 120 + "/q.mp4"] = b"prefix"
  assert _walk(_archive(files, kind)) == files
  assert _walk(_archive({}, kind)) == {}


def test_a_part_of_an_archive_is_walked_through_by_itself():
  data = _archive()
  found = list(members(lambda o, n: data[o : o + n], len(data)))
  edges = [m.header for m in found]
  for first, last, member in zip(edges, edges[1:], found, strict=False):
    part = data[first:last]
    (again,) = members(lambda o, n, part=part: part[o : o + n], len(part))
    assert again.name == member.name
    assert part[again.start :][: again.size] == FILES[member.name]


@pytest.mark.parametrize(
  ("kind", "what"),
  [
    (tarfile.SYMTYPE, "is a link"),
    (tarfile.LNKTYPE, "is a hard link"),
    (tarfile.CHRTYPE, "is a device"),
    (tarfile.FIFOTYPE, "is a pipe"),
    (tarfile.GNUTYPE_SPARSE, "is a file with holes"),
    (b"Z", "is of the unknown type"),
  ],
)
def test_only_plain_files(kind, what):
  info = tarfile.TarInfo("evil.mp4")
  info.type, info.linkname = kind, "/etc/passwd"
  with pytest.raises(ValueError, match=f"byte .*'evil.mp4' {what}"):
    _walk(_archive(infos=[info]))


def test_an_archive_cut_anywhere_is_refused():
  data = _archive()
  end = len(data.rstrip(b"\0")) // 512 * 512 + 512
  for size in range(0, end + 511, 37):
    with pytest.raises(ValueError, match=r"^byte \d+: "):
      _walk(data[:size])
  assert _walk(data[: end + 512]) == FILES  # one block of zeros ends it


def test_what_follows_the_end_is_refused():
  """A second archive glued on would be lost in silence."""
  data = _archive()
  with pytest.raises(ValueError, match="expected zeros behind the end mark"):
    _walk(data + data)
  assert _walk(data + bytes(100)) == FILES


def _with_header(block):
  """A header whose sum is right."""
  block = bytearray(block)
  block[148:156] = b" " * 8
  block[148:156] = b"%06o\0 " % sum(block)
  return bytes(block)


@pytest.mark.parametrize(
  "size", [b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"8" * 12]
)
def test_sizes_that_lie(size):
  header = bytearray(_archive({"a.mp4": b"x"})[512:1024])
  header[124:136] = size
  with pytest.raises(ValueError, match="^byte "):
    _walk(_with_header(header) + bytes(2048))


@pytest.mark.parametrize(
  "data", [b"99 path=a\n", b"5 a\n", b"x path=a\n", b"9 size=-\n", b"\xff" * 9]
)
def test_attributes_that_lie(data):
  header = bytearray(_archive({"a.mp4": data})[512:1024])
  header[156:157] = b"x"
  body = _with_header(header) + data.ljust(512, b"\0")
  with pytest.raises(ValueError, match="^byte "):
    _walk(body + _archive()[512:])


def test_a_name_that_is_endless():
  header = bytearray(_archive({"a.mp4": b"x"})[512:1024])
  header[156:157], header[124:136] = b"L", b"00010000001\0"  # 2 MiB
  with pytest.raises(ValueError, match="a name of 2097153 bytes"):
    _walk(_with_header(header) + bytes(2**22))


@fuzz(60)
@given(st.binary(max_size=2000))
def test_any_bytes_are_an_archive_or_refused(data):
  for content in (
    data,
    _archive({"a.txt": data})[512:],
    _with_header(data.ljust(512, b"\0")[:512]) + bytes(1024),
  ):
    try:
      _walk(content)
    except ValueError as error:
      assert str(error).startswith("byte ")


@fuzz(60)
@given(st.integers(0), st.integers(0, 7))
def test_any_flipped_bit_of_a_header_is_seen(place, bit):
  """The sum of a header sees it, or all that changes is a name or bytes."""
  data = bytearray(_archive())
  data[place % len(data)] ^= 1 << bit
  try:
    found = _walk(bytes(data))
  except ValueError as error:
    assert str(error).startswith("byte ")
  else:
    assert len(found) == len(FILES)
