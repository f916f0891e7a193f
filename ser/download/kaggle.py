"""Downloads a data set from Kaggle with the user's own token and packs it again.

Needs the optional package ``kagglehub``.
"""

from __future__ import annotations

import os
from pathlib import Path

from ser.corpora.packing import pack
from ser.runtime.disk import TransferError

ADDRESS = "https://www.kaggle.com"

TOKENS = ("access_token", "kaggle.json")
"""Files under ~/.kaggle (or KAGGLE_CONFIG_DIR) that hold a token."""


def has_token() -> bool:
    """Whether the user has set up a token. Only kagglehub reads it."""
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or Path.home() / ".kaggle")
    environment = "KAGGLE_API_TOKEN" in os.environ or {"KAGGLE_USERNAME", "KAGGLE_KEY"} <= os.environ.keys()
    return environment or any((folder / name).is_file() for name in TOKENS)


def download(handle: str, target: Path) -> None:
    """Write the data set ``owner/name`` as one zip.

    Raises:
        TransferError: if the package is missing or Kaggle refuses.
    """
    try:
        import kagglehub
    except ImportError:
        raise TransferError("the package kagglehub is not installed (pip install kagglehub)") from None
    try:
        folder = Path(kagglehub.dataset_download(handle))
    except Exception as error:  # kagglehub lets through its own errors, those of requests, of zip files and of the disk
        raise TransferError(f"Kaggle: {type(error).__name__}: {error}") from error
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*") if file.is_file()}
    pack(target, files, {}, f"{target.name}: packing")
