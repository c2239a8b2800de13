"""The pages of the last scan, so that a page whose rows are the same again is not decoded again."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256

from notifier.sources.payloads import Decode, RowKeys, TaskPage, decode_page, split_page


class PageCache:
    """Keeps what identifies the rows of the pages of the last scan, by the digest of their bytes.

    A page proves the same whether its rows were decoded or recognised: equal bytes have equal keys in an equal order,
    and everything else of a page, its total above all, is decoded each time. It keeps the keys and no rows: about 200
    bytes for each task, and no more while a list that has changed is read.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, RowKeys] = {}

    @contextmanager
    def scan(self) -> Iterator[Decode]:
        """Yield a function that decodes a page; see `decode_page`. After a scan that ended well its pages are kept."""
        shown: dict[bytes, RowKeys] = {}
        try:
            yield partial(self._decode, shown)
        except BaseException:
            self._known |= shown
            raise
        self._known = shown

    def _decode(self, shown: dict[bytes, RowKeys], body: bytes) -> TaskPage:
        split = split_page(body)
        if split is None:
            return decode_page(body)
        digest = sha256(split.encoded).digest()
        known = shown.get(digest) or self._known.pop(digest, None)
        page = split.with_keys(known) if known else split.decode()
        if page is None:
            return decode_page(body)
        if not known and self._known:
            # Pages come in the order of the list: the first one left is what this page, or one before it, used to be.
            del self._known[next(iter(self._known))]
        shown[digest] = page.row_keys
        return page
