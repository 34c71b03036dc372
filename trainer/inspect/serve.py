"""`stepcredit inspect RUN_DIR --serve`: the page of a run's newest update, on this machine alone."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any

from trainer.config.build import ConfigError
from trainer.data.recording import Recording, recordings

HOST, PORT = "127.0.0.1", 8765
NAMES = (HOST, "localhost")
"""The names by which a browser of this machine asks; a page of elsewhere that resolves to it has another."""


class Pages:
    """The page of the newest update of a run, written again where the run has gone on."""

    def __init__(self, run: Path, write: Callable[[Recording], Path]) -> None:
        """write: writes the page of one update and returns its path."""
        self._run, self._write = run, write
        self._lock = Lock()
        self._kept: tuple[int, bytes] | None = None

    def newest(self) -> Recording:
        """The newest update that is recorded whole. Raises ConfigError where none is there any more."""
        return recordings(self._run, None)[-1]

    def page(self) -> bytes:
        """The page of the newest update. Raises ConfigError for a recording that is not whole."""
        with self._lock:
            recording = self.newest()
            if self._kept is None or self._kept[0] != recording.update:
                self._kept = recording.update, self._write(recording).read_bytes()
            return self._kept[1]


class PageServer(ThreadingHTTPServer):
    """Answers `/` with the page and `/newest` with the number of the newest update."""

    daemon_threads = True  # a browser that keeps a connection open holds nothing up

    def __init__(self, pages: Pages, port: int) -> None:
        """Raises ConfigError for a port that cannot be had."""
        self.pages = pages
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise ConfigError(f"port={port} of {HOST} cannot be had ({error.strerror}): give another, or 0") from error

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that leaves before its answer is there is no error; all else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{HOST}:{self.server_address[1]}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: HTTPStatus
    kind: str
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        answer = self._answer()
        self.send_response(answer.status)
        for name, value in (
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each request would hide what the command says."""

    def _answer(self) -> _Answer:
        if self.headers.get("Host", "").partition(":")[0] not in NAMES:
            return _line(HTTPStatus.FORBIDDEN, f"ask for {self.server.address}")
        try:
            if self.path == "/":
                return _Answer(status=HTTPStatus.OK, kind="text/html; charset=utf-8", body=self.server.pages.page())
            if self.path == "/newest":
                newest = json.dumps({"update": self.server.pages.newest().update}).encode()
                return _Answer(status=HTTPStatus.OK, kind="application/json", body=newest)
        except ConfigError as error:
            return _line(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
        return _line(HTTPStatus.NOT_FOUND, f"{self.path} is not here: ask for {self.server.address}")


def _line(status: HTTPStatus, text: str) -> _Answer:
    return _Answer(status=status, kind="text/plain; charset=utf-8", body=f"{text}\n".encode())
