"""Says where it runs, echoes, streams. The application that ./dev up and the tests deploy.

GET /                   JSON: region, instance, version, how many requests this instance has answered
GET /health             200 once it can answer
GET /ready              200 once it has warmed up: HELLO_WARM_UP_SECONDS after its start (none by default)
POST /echo              how many bytes came
GET /stream?seconds=N   a line each second, then "end"
GET /ws                 WebSocket echo
GET /environment        names of the variables it was given (never their values)
"""

import asyncio
import os
import socket
import time
import urllib.parse

import websocket
from server import Json, Server, Stream

# The platform sends SIGKILL 30 s after SIGTERM; WebSockets are told to go elsewhere before that.
DRAIN_SECONDS = 27
LEAVE_SECONDS = 25
STREAM_SECONDS_MAX = 3600
WARM_UP_SECONDS = float(os.environ.get("HELLO_WARM_UP_SECONDS", "0"))

ABOUT = {
    "region": os.environ.get("RAILHEAD_REGION", "none"),
    "instance": os.environ.get("RAILHEAD_REPLICA_ID", socket.gethostname()),
    "version": os.environ.get("HELLO_VERSION") or os.environ.get("RAILHEAD_GIT_COMMIT_SHA", "unknown"),
    "deployment": os.environ.get("RAILHEAD_DEPLOYMENT_ID", "none"),
}


class App:
    def __init__(self):
        self.answered = 0
        self.leave = asyncio.Event()
        self.warm_at = time.monotonic() + WARM_UP_SECONDS

    async def handle(self, request):
        self.answered += 1
        route = ROUTES.get(request.path)
        if route is None:
            return Json(404, {"error": f"nothing at {request.path}"}, drains_body=True)
        method, action = route
        if request.method != method:
            return Json(405, {"error": f"{request.path} takes {method}"}, drains_body=True)
        return await action(self, request)

    async def about(self, _request):
        return Json(200, {**ABOUT, "answered": self.answered}, drains_body=True)

    async def health(self, _request):
        return Json(200, {"status": "ok"}, drains_body=True)

    async def ready(self, _request):
        left = self.warm_at - time.monotonic()
        if left > 0:
            return Json(503, {"status": "warming up", "seconds_left": round(left, 1)}, drains_body=True)
        return Json(200, {"status": "ready"}, drains_body=True)

    async def echo(self, request):
        received = 0
        async for piece in request.body():
            received += len(piece)
        return Json(200, {"received": received})

    async def stream(self, request):
        asked = urllib.parse.parse_qs(request.query).get("seconds", ["20"])[0]
        if not asked.isdigit() or int(asked) > STREAM_SECONDS_MAX:
            return Json(400, {"error": f"seconds must be 0 to {STREAM_SECONDS_MAX}"}, drains_body=True)
        return Stream(lines(int(asked)))

    async def websocket(self, request):
        if not websocket.is_upgrade(request):
            return Json(400, {"error": "/ws is a WebSocket"}, drains_body=True)
        await websocket.echo(request, self.leave)

    async def environment(self, _request):
        return Json(200, {"names": sorted(os.environ)}, drains_body=True)


ROUTES = {
    "/": ("GET", App.about),
    "/health": ("GET", App.health),
    "/ready": ("GET", App.ready),
    "/echo": ("POST", App.echo),
    "/stream": ("GET", App.stream),
    "/ws": ("GET", App.websocket),
    "/environment": ("GET", App.environment),
}


async def lines(seconds):
    for second in range(seconds):
        yield b"%d\n" % second
        await asyncio.sleep(1)
    yield b"end\n"


async def main():
    app = App()
    server = Server(app.handle)

    async def leave_in_time():
        await server.draining.wait()
        await asyncio.sleep(LEAVE_SECONDS)
        app.leave.set()

    leaving = asyncio.ensure_future(leave_in_time())
    print(f"hello from {ABOUT['region']}, version {ABOUT['version']}", flush=True)
    await server.run(int(os.environ.get("PORT", "8080")), DRAIN_SECONDS)
    leaving.cancel()
    print("bye", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
