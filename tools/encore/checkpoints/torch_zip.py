"""The zip files that torch.save writes, and whether their bytes are those that it wrote. No torch.

torch writes a checksum of each entry and never looks at it: a flipped bit in a weight passes its
loader. Here all bytes are read and compared once, whoever reads the file then.
"""

import errno
import functools
import io
import os
import zipfile
from pathlib import Path

from encore import data_file, files, threads
from encore.errors import CheckpointError, UnreadableError

# torch before 1.6 wrote no zip files, but pickles, of which the first is a number of ten bytes
_OLD_FORMAT = b"\x80\x02\x8a\n"
# the directory at the end of a zip file ends within this many bytes, the longest comment included
_DIRECTORY_BYTES = 1 << 17
_CHUNK_BYTES = 1 << 20
# more gain little: a reader alone takes 1 GB/s
_MOST_WORKERS = 8


def is_torn(path: Path) -> bool:
    """Whether a file lacks its end, where its directory stands.

    Raises UnreadableError for a file in another format, which does not tell, and OSError.
    """
    _check_format(path)
    with open(path, "rb") as handle:
        # is_zipfile says no where a file system fails; reading the same bytes says that it fails
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - _DIRECTORY_BYTES))
        handle.read()
        handle.seek(0, io.SEEK_SET)
        return not zipfile.is_zipfile(handle)


def check(path: Path) -> None:
    """Compare all entries with their checksums, unless the same file was compared before.

    Raises CheckpointError for a file that is absent, torn or damaged, UnreadableError for one that
    cannot be read now or is in another format.
    """
    try:
        _check_format(path)
        state = path.stat()
        _check_once(path, state.st_ino, state.st_size, state.st_mtime_ns)
    except CheckpointError:
        raise
    except Exception as error:
        raise unreadable(path, error) from None


@functools.cache
def _check_once(path: Path, *_identity: int) -> None:
    with zipfile.ZipFile(path) as archive:
        workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        read_all = functools.partial(_read_all, archive)
        for _ in threads.mapped(read_all, entries(archive), workers):
            pass


def _read_all(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Read an entry to its end, where its checksum is compared."""
    with archive.open(entry) as stream:
        while stream.read(_CHUNK_BYTES):
            pass


def entries(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The entries of a file, to be read from `archive`. Raises ValueError.

    torch compresses nothing: what could unpack to more than the file is refused.
    """
    infos = archive.infolist()
    total = 0
    for info in infos:
        total += info.file_size
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{info.filename} is compressed")
    if archive.fp is not None and total > archive.fp.seek(0, os.SEEK_END):
        raise ValueError("its entries are larger than the file")
    # torch.serialization.set_crc32_options(False) writes zeros
    if not any(info.CRC for info in infos):
        for info in infos:
            # without one, zipfile compares nothing
            del info.CRC
    return infos


def open_file(path: Path) -> zipfile.ZipFile:
    """The file, opened; raises UnreadableError for one in another format, OSError, BadZipFile."""
    _check_format(path)
    return zipfile.ZipFile(path)


def _check_format(path: Path) -> None:
    data_file.check(path, UnreadableError)
    if files.starts_with(path, _OLD_FORMAT):
        raise UnreadableError(
            f"{path} is in the format of torch before 1.6",
            "load it and save it again with a torch from 1.6 on",
        )


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that could not be read: by the system, or for its bytes."""
    if isinstance(error, FileNotFoundError):
        return CheckpointError(f"{path} does not exist", "fetch it, or use another step")
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return UnreadableError(
            f"{path} cannot be read now: {error.strerror}",
            "check its permissions and the file system, then run the same command again",
        )
    # a damaged directory makes the reader of zip files seek to before the beginning
    if isinstance(error, OSError):
        return CheckpointError(f"{path} cannot be read: it is torn", "use another step")
    if isinstance(error, zipfile.BadZipFile) and "Bad CRC-32" in str(error):
        return CheckpointError(
            f"{path} is damaged: {str(error).partition(' for file ')[2]} does not have the checksum"
            " that was written with it",
            "fetch it again, or use another step",
        )
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return CheckpointError(
        f"{path} cannot be read: {reason}", "it is torn or no checkpoint; use another step"
    )
