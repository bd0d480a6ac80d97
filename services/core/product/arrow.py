"""pyarrow, with the C library's allocator; every module of this folder imports it from here."""

import os

# Its own allocator keeps some 10 MB of what the row groups of a large run needed; the C library's gives them back. The
# library looks for this once, when it is loaded; `pyarrow.set_memory_pool` does not reach the Parquet writer.
os.putenv("ARROW_DEFAULT_MEMORY_POOL", "system")

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["pa", "pq"]
