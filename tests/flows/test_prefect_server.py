"""Whether a Prefect server is there, asked of what may answer in its place."""

import http.server
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.prefect_server import answers


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
