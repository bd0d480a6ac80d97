"""Files that come with the service, for browsers."""

from importlib import resources
from pathlib import Path


def asset_folder(name: str) -> Path:
    """The folder `page` or `docs` beside this module."""
    with resources.as_file(resources.files("services.api") / name) as folder:
        return folder
