"""Tells what it can reach: the tests ask it to prove that a workload is shut in.

GET /connect?to=HOST:PORT&to=…   JSON: for each target "connected", or why not (2 s each, all at once)
GET /resolve?name=NAME           JSON: its addresses, or why there are none, and how long the answer took
GET /self                        JSON: addresses, gateway, and what the kernel says of this process
GET /health                      200
"""

import concurrent.futures
import http.server
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import urllib.parse

CONNECT_SECONDS = 2


def connect(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
        return "connected"
    except OSError as error:
        return str(error)


def connect_all(query):
    targets = query.get("to", [])
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        return dict(zip(targets, pool.map(connect, targets)))


def resolve(query):
    name = query["name"][0]
    began = time.monotonic()
    try:
        answer = {"addresses": sorted({info[4][0] for info in socket.getaddrinfo(name, None, socket.AF_INET)})}
    except OSError as error:
        answer = {"error": str(error)}
    return {**answer, "seconds": round(time.monotonic() - began, 3)}


def gateway():
    with open("/proc/net/route") as routes:
        for fields in map(str.split, routes):
            if fields[1] == "00000000":
                return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    return None


def itself(_query):
    with open("/proc/self/status") as lines:
        status = dict(line.split(":\t", 1) for line in lines.read().splitlines() if ":\t" in line)
    wanted = ("CapEff", "NoNewPrivs", "Seccomp", "Uid")
    return {
        "addresses": socket.gethostbyname_ex(socket.gethostname())[2],
        "gateway": gateway(),
        "status": {name: status[name] for name in wanted},
        "variables": sorted(os.environ),
    }


ROUTES = {"/connect": connect_all, "/resolve": resolve, "/self": itself, "/health": lambda _query: "ok"}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        action = ROUTES.get(url.path)
        answer = action(urllib.parse.parse_qs(url.query)) if action else {"error": "not found"}
        body = json.dumps(answer).encode()
        self.send_response(200 if action else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        print(format % arguments, file=sys.stdout, flush=True)


def main():
    server = http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()


if __name__ == "__main__":
    main()
