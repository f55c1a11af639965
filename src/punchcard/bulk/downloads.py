"""Files that are downloaded page by page: memory stays flat, and while a client is slow no session is held."""

import contextlib
from collections.abc import Iterator

from punchcard import log
from punchcard.errors import PunchcardError

# one page: so many rows, and hardly more than so many bytes of them
PAGE_ROWS = 1000
PAGE_BYTES = 256 * 1024
JSON_LINES_TYPE = "application/x-ndjson"

logger = log.get(__name__)


class DownloadBroken(PunchcardError):
    """Rows were deleted while they were being downloaded: the file must not look complete."""


@contextlib.contextmanager
def breaking_off(action_id: str) -> Iterator[None]:
    """Around what sends a file: an error breaks the connection off, for it is too late to say so."""
    try:
        yield
    except Exception as error:
        logger.warning("download_broken", cause=type(error).__name__, async_action_id=action_id)
        raise
