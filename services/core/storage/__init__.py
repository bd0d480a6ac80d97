"""Objects by key, in a folder or in S3: the only home of boto3, and where every byte of a scene comes through.

keys (names, URIs) <- reader (ranged reads) <- {files, s3} <- stores (the Protocol, `open_store`) <- {opener, probe}
"""

from services.core.storage.keys import split_uri
from services.core.storage.opener import RasterOpener
from services.core.storage.probe import check_store
from services.core.storage.reader import RangeReader
from services.core.storage.stores import ObjectStore, open_store

__all__ = ["ObjectStore", "RangeReader", "RasterOpener", "check_store", "open_store", "split_uri"]
