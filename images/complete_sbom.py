"""`complete_sbom.py FILE`: add CPython and Debian's packages to a CycloneDX file that lists the Python packages.

Debian's are those of the base: slim_system.sh takes files out of some of them, and adds none.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

_FIELDS = "${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n"


def debian_components() -> list[dict[str, str]]:
    """One component for each installed package, by name."""
    command = ["/usr/bin/dpkg-query", "-W", "-f", _FIELDS]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603  # fixed words, no shell
    components = []
    for line in sorted(listed.stdout.splitlines()):
        name, version, architecture, status = line.split("\t")
        if status.startswith("ii"):
            purl = f"pkg:deb/debian/{name}@{version.replace('+', '%2B').replace(':', '%3A')}?arch={architecture}"
            components.append({"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl})
    return components


def python_component() -> dict[str, str]:
    """The interpreter, which no package manager lists."""
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "platform", "name": "cpython", "version": version, "purl": purl, "bom-ref": purl}


if __name__ == "__main__":
    path = Path(sys.argv[1])
    document = json.loads(path.read_text(encoding="utf-8"))
    document["components"] += [python_component(), *debian_components()]
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
