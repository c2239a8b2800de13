"""The pages of the last scan, so that a page whose rows are the same again is not decoded again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256

from notifier.sources.payloads import Decode, RowKeys, TaskPage, decode_page, split_page


class PageCache:
    """Keeps what identifies the rows of the pages of the last scan, by the digest of their bytes.

    A page proves the same whether its rows were decoded or recognised: equal bytes have equal keys in an equal order,
    and everything else of a page, its total above all, is decoded each time. It keeps the keys and no rows: about 60
    bytes for each task, as its strings and digests are those that the store compares with.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, RowKeys] = {}

    @contextmanager
    def scan(self) -> Iterator[Decode]:
        """Yield a function that decodes a page; see `decode_page`. After a scan that ended well its pages are kept."""
        shown: dict[bytes, RowKeys] = {}
        yield partial(self._decode, shown)
        self._known = shown

    def _decode(self, shown: dict[bytes, RowKeys], body: bytes) -> TaskPage:
        split = split_page(body)
        if split is None:
            return decode_page(body)
        digest = sha256(split.encoded).digest()
        known = shown.get(digest) or self._known.get(digest)
        page = split.with_keys(known) if known else split.decode()
        if page is None:
            return decode_page(body)
        shown[digest] = page.row_keys
        return page
