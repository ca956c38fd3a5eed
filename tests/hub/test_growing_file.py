"""The beginning of a growing file reads as a file of that size, however it is read."""

import hashlib
import io
from pathlib import Path

import pytest
from encore.hub.growing_file import FilePrefix
from hypothesis import given
from hypothesis import strategies as st

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 40)),
        st.tuples(st.just("seek"), st.integers(0, 60)),
        st.tuples(st.just("end"), st.integers(-10, 0)),
    ),
    max_size=12,
)


@given(st.binary(min_size=10, max_size=50), st.integers(10, 50), OPERATIONS)
def test_it_reads_as_the_file_of_that_size(
    tmp_path_factory: pytest.TempPathFactory,
    data: bytes,
    size: int,
    operations: list[tuple[str, int]],
) -> None:
    size = min(size, len(data))
    path = tmp_path_factory.mktemp("growing") / "log"
    path.write_bytes(data)
    plain = io.BytesIO(data[:size])
    with FilePrefix(path, size) as beginning:
        with open(path, "ab") as writer:
            writer.write(b"more")
        for name, number in operations:
            if name == "read":
                assert beginning.read(number) == plain.read(number)
            elif name == "seek":
                assert beginning.seek(number) == plain.seek(number)
            else:
                assert beginning.seek(number, io.SEEK_END) == plain.seek(number, io.SEEK_END)
            assert beginning.tell() == plain.tell()


def test_the_library_hashes_and_counts_the_beginning(tmp_path: Path) -> None:
    from huggingface_hub import CommitOperationAdd

    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(b"a" * 1000 + b"later")
    with FilePrefix(path, 1000) as beginning:
        told = CommitOperationAdd("x", beginning).upload_info
        assert told.size == 1000 and told.sha256 == hashlib.sha256(b"a" * 1000).digest()
    assert beginning.closed
