"""Words of the image that shells and Pythons run: taken out of its recipe, and run here without Docker."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RECIPE = (ROOT / "images" / "api.Dockerfile").read_text()


def health_words(default: int) -> list[str]:
    """What HEALTHCHECK runs, where a service listens on this port by default."""
    words = re.search(r"^HEALTHCHECK .*? CMD (\[.*?\])$", RECIPE, re.DOTALL | re.MULTILINE)
    assert words is not None
    _, *rest = json.loads(words[1].replace("\\\n", ""))
    return [sys.executable, *(word.replace("8000", str(default)) for word in rest)]


@pytest.mark.parametrize("told", ["{port}", " {port} ", "", "tcp://10.0.0.7:8000", None])
@pytest.mark.parametrize(("status", "code"), [(b"200 OK", 0), (b"503 Service Unavailable", 1)])
def test_a_well_service_is_called_so_whatever_its_port_variable_holds(told, status, code):
    with socket.create_server(("127.0.0.1", 0)) as door:
        door.settimeout(10)

        def answer() -> None:
            caller, _ = door.accept()
            with caller:
                caller.recv(2**10)
                caller.sendall(b"HTTP/1.1 " + status + b"\r\n\r\n")

        port = door.getsockname()[1]
        listener = threading.Thread(target=answer)
        listener.start()
        elsewhere = 1 if told and "{port}" in told else port
        variables = {} if told is None else {"SWATH_API_PORT": told.format(port=port)}
        done = subprocess.run(health_words(elsewhere), env=variables, timeout=60, check=False)
        listener.join()
    assert done.returncode == code


@pytest.mark.parametrize(
    ("revision", "version"),
    [("", "0.1.0"), ("unknown", "0.1.0"), ("0123456789abcdef.dirty", "0.1.0+g0123456789ab.dirty")],
)
def test_a_version_names_a_revision_only_where_one_is_known(revision, version, tmp_path):
    (tmp_path / "pyproject.toml").write_text('version = "0.1.0"\n')
    line = re.search(r'^RUN (if \[ "\$\{?REVISION.*?fi)$', RECIPE, re.DOTALL | re.MULTILINE)
    assert line is not None
    subprocess.run(["sh", "-ec", line[1]], cwd=tmp_path, env={**os.environ, "REVISION": revision}, check=True)
    assert (tmp_path / "pyproject.toml").read_text() == f'version = "{version}"\n'


def test_an_image_made_outside_git_says_that_its_revision_is_unknown(tmp_path):
    docker = tmp_path / "docker"
    docker.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    docker.chmod(0o755)
    variables = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "GIT_DIR": str(tmp_path / "nowhere")}
    done = subprocess.run(["make", "image"], cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    assert "REVISION=unknown" in done.stdout.splitlines()
    assert done.stderr == ""
