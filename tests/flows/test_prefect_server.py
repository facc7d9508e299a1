"""Whether a Prefect server is there, asked of what may answer in its place."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest

from flows import prefect_server
from flows.prefect_server import answers, through_prefect
from tasks.errors import Fault
from tests.support.tiny import Finished


@contextmanager
def listening(body: bytes, *, certificate: Path | None = None) -> Iterator[str]:
    """The API of a server that answers every question with ``body``."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/api"
        finally:
            server.shutdown()


def test_a_server_that_says_true_is_one_and_a_page_is_none():
    with listening(b"true") as api:
        assert answers(api)
    with listening(b"<html>a page of something else</html>") as api:
        assert not answers(api)
    assert not answers(api)


def test_a_server_whose_certificate_this_machine_does_not_know_is_there(tmp_path: Path):
    both = tmp_path / "both.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=here", "-days", "2", "-keyout", both, "-out", tmp_path / "c"],
        check=True, capture_output=True,
    )  # fmt: skip
    both.write_bytes(both.read_bytes() + (tmp_path / "c").read_bytes())

    with listening(b"true", certificate=both) as api:
        assert answers(api)


def test_a_server_that_goes_away_during_a_run_is_told_as_what_it_is(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
):
    def pipeline(*_: object, **__: object) -> None:
        raise httpx.ConnectError("[Errno 111] Connection refused")

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr(prefect_server, "_own_server", lambda *_, **__: nullcontext())
    monkeypatch.setattr("flows.pipeline.pipeline", pipeline)

    with pytest.raises(Fault) as caught:
        through_prefect(finished.workspace.root, None)

    assert str(caught.value) == (
        "the Prefect server went away during the run ([Errno 111] Connection refused). All that was finished is kept in"
        f" {finished.workspace.root}. Run again, or with --no-prefect."
    )
