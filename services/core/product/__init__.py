"""Blocks in, a product out; the only home of pyarrow."""

import os

# Read once, when pyarrow is imported: its own allocator keeps some 10 MB of what the row groups of a large run needed,
# the C library's gives them back. `pyarrow.set_memory_pool` would not do: the Parquet writer takes the default.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
