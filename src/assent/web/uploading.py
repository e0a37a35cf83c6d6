"""Files that people send: text in a JSON body, put where a reader of files finds it."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from assent.config.files import disk_errors
from assent.errors import DataError

_LONGEST_NAME: Final = 80


@contextmanager
def uploaded(name: str, text: str) -> Iterator[Path]:
    """A file with this text, for as long as it is read.

    Its name is what can be told in an error: letters, digits, dots and dashes of the name given.

    Raises:
        DataError: what the reader of the file says.
        DiskFull, StoreError: there is no room for it.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name.replace("\\", "/").rpartition("/")[2])
    with disk_errors("keeping what was sent"):
        folder = tempfile.TemporaryDirectory(prefix="assent-upload-")
    with folder as at:
        path = Path(at) / f"{safe.lstrip('.-')[-_LONGEST_NAME:].lstrip('.-') or 'file.jsonl'}"
        with disk_errors("keeping what was sent"):
            # newline="": a line break inside a CSV cell stays what it is.
            path.write_text(text, encoding="utf-8", errors="replace", newline="")
        try:
            yield path
        except DataError as error:
            if at not in str(error):
                raise
            # Where it lay on the server is nobody's business.
            raise type(error)(str(error).replace(f"{at}/", "")) from error
