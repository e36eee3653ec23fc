"""Python's http.server, which reads heads; bodies by length, and chunked ones as RFC 9112 says."""

import socketserver
import sys
from http.server import BaseHTTPRequestHandler


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        if self.headers.get("Transfer-Encoding"):
            while size := int(self.rfile.readline().strip().decode(), 16):
                self.rfile.read(size)
                if self.rfile.readline() != b"\r\n":
                    raise ValueError("a chunk without its end")
            while self.rfile.readline() != b"\r\n":
                pass
        else:
            length = int(self.headers.get("Content-Length", 0))
            if len(self.rfile.read(length)) < length:
                self.close_connection = True
                return
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"ok")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_request(self, code="-", size="-"):
        # As received: `self.path` has lost a second slash at its beginning.
        method, target, _ = self.requestline.split(" ")
        sys.stdout.write(f"{method} {target} {int(code)}\n")

    def log_error(self, *arguments):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        pass


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
