"""A connection to PostgreSQL that gives up on a server which takes questions and never answers."""

from typing import Any

import psycopg

#: Longer than `statement_timeout`: a server that is well has answered or refused by then.
SILENCE_S = 75.0


class PatientConnection(psycopg.Connection[Any]):
    """Waits `silence_s` for any one answer: a host that hangs still acknowledges packets, so no limit of TCP helps."""

    silence_s = SILENCE_S  #: who sets a longer `statement_timeout` sets this as well

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """See psycopg.

        Raises:
            psycopg.OperationalError: No answer; the connection is closed, because one may come yet.
        """
        try:
            return super().wait(gen, interval, self.silence_s if timeout is None else timeout)
        except psycopg.OperationalError as exc:
            if exc.sqlstate is None and not self.closed and timeout is None:
                self.pgconn.finish()
            raise
