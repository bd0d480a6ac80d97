"""The one table from errors to answers, and that nothing of ours leaks through it."""

import pytest

from services.api import refusals
from services.api.problems import KINDS, problem_of, respond, scrubbed
from services.core import errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ObjectNotFoundError("no run r-1"), 404),
        (errors.RunClaimedError("taken"), 409),
        (errors.MemoryBudgetError("too much"), 500),
        (errors.DatabaseUnavailableError("postgresql://u:secret@h/db"), 503),
        (refusals.UnauthenticatedError("no key"), 401),
        (refusals.TooManyRequestsError("slow down", retry_after_s=0.25), 429),
        (refusals.OverloadedError("later", retry_after_ms=40), 503),
        (ZeroDivisionError("x"), 500),
    ],
)
def test_each_error_has_its_status(error, status):
    assert problem_of(error).status == status


def test_every_error_class_of_ours_is_in_the_table_or_below_one_that_is():
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert all(any(ancestor in KINDS for ancestor in each.__mro__) for each in classes)


@pytest.mark.parametrize(
    "error",
    [
        errors.StorageUnavailableError("/srv/secret/store does not answer"),
        errors.PackageError("model.onnx of /srv/secret is damaged"),
        RuntimeError("/srv/secret"),
    ],
)
def test_a_failure_of_ours_says_nothing_of_itself(error):
    body = respond(problem_of(error, request_id="r")).body
    assert b"secret" not in body
    assert b'"request_id":"r"' in body


def test_paths_and_addresses_are_cut_to_their_last_part():
    told = "/home/me/x/scene.tif is cut short; s3://bucket/key/b.tif and file:///etc/passwd too; see GET /runs/r-1"
    assert scrubbed(told) == "scene.tif is cut short; b.tif and passwd too; see GET /runs/r-1"


def test_waiting_is_said_in_whole_seconds_and_in_milliseconds():
    response = respond(problem_of(refusals.OverloadedError("later", retry_after_ms=1200)))
    assert response.headers["Retry-After"] == "2"
    assert b'"retry_after_ms":1200' in response.body


def test_who_is_not_known_is_told_how_to_say_it():
    response = respond(problem_of(refusals.UnauthenticatedError("no key")))
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert response.headers["Content-Type"] == "application/problem+json"
