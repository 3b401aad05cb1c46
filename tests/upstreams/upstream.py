"""A small upstream for the gateway's tests, in another language than the gateway's.

Prints `PORT n`, then serves HTTP/1.1 on loopback until it is killed:
GET /weather, fixed bytes; GET /hits, how often /weather was reached, as text, or /hits?path=/echo how often that was; POST
/echo, the body back byte for byte; GET /fail, 500; GET /headers, the received headers as a JSON list of [name, value].
`upstream.mjs` is the same.
"""

import collections
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEATHER = b'{"city":"Lisbon","celsius":21.5,"sky":"clear \xe2\x98\x80"}\n'

lock = threading.Lock()
hits = collections.Counter()


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path = self.hit()
        if path == "/weather":
            self.answer(200, "application/json", WEATHER)
        elif path == "/hits":
            of = self.path.partition("?path=")[2] or "/weather"
            self.answer(200, "text/plain", str(hits[of]).encode())
        elif path == "/headers":
            self.answer(200, "application/json", json.dumps(self.headers.items()).encode())
        elif path == "/fail":
            self.answer(500, "text/plain", b"the upstream fails\n")
        else:
            self.answer(404, "text/plain", b"no such path\n")

    do_HEAD = do_GET

    def do_POST(self):
        body = self.body()
        if self.hit() == "/echo":
            kind = self.headers.get("content-type", "application/octet-stream")
            self.answer(200, kind, body)
        else:
            self.answer(404, "text/plain", b"no such path\n")

    def hit(self):
        path = self.path.partition("?")[0]
        with lock:
            hits[path] += 1
        return path

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return whole

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
server.daemon_threads = True
print(f"PORT {server.server_address[1]}", flush=True)
server.serve_forever()
