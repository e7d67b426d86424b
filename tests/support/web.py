"""A web server of a few files, on this machine."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def web_server(files, moved=None):
    """Yields its address and the list of paths asked for.

    Args:
        files: bytes by path; None drips a byte at a time, for ever.
        moved: target by path.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path in (moved or {}):
                self._begin(302, Location=moved[self.path])
            elif self.path not in files:
                self._begin(404)
            elif files[self.path] is None:
                self._drip()
            else:
                self._begin(200)
                self.wfile.write(files[self.path])

        def _begin(self, status, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def _drip(self):
            self._begin(200)
            while not stopped.is_set():
                try:
                    self.wfile.write(b"x")
                except OSError:
                    return
                time.sleep(0.01)

        def log_message(self, *args):
            pass

    stopped = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        stopped.set()
        server.shutdown()
        thread.join()
        server.server_close()
