"""pyarrow for files of unknown origin. No other module of this project imports it.

Before 14.0.1, pyarrow unpickles, and so runs, what a Parquet or Arrow file holds as the metadata of
an extension type (CVE-2023-47248). pyarrow-hotfix makes it refuse such a file. Loading takes a
moment, so import this module inside functions.
"""

import re

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["pa", "pq"]

_FIRST_SAFE_VERSION = (14, 0, 1)

if tuple(int(part) for part in re.findall(r"\d+", pa.__version__)[:3]) < _FIRST_SAFE_VERSION:
    import pyarrow_hotfix

    pyarrow_hotfix.install()
