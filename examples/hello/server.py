"""HTTP/1.1 on asyncio, standard library only: keep-alive, bodies of any length, streams, upgrade, drain.

Promises that a request which was begun is answered: after SIGTERM the server goes on answering,
asks each connection to close with its next answer, and ends when nothing has been under way for a
moment.
"""

import asyncio
import json
import signal

HEAD_LIMIT = 32 * 1024
CHUNK = 64 * 1024
# Longer than a proxy keeps an idle connection, so that the proxy closes first.
IDLE_SECONDS = 300
QUIET_SECONDS = 1.0

REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 431: "Header Too Large", 503: "Service Unavailable"}


class BadRequest(Exception):
    """What can't be understood is answered with 400 and the connection ends."""


class Request:
    """One request; its body is read from the connection as the handler asks for it."""

    def __init__(self, method, path, query, headers, reader, writer):
        self.method, self.path, self.query, self.headers = method, path, query, headers
        self.reader, self.writer = reader, writer
        self.upgraded = False

    async def body(self):
        """Yields the body in pieces."""
        if self.headers.get("expect", "").lower() == "100-continue":
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            async for piece in self._chunks():
                yield piece
            return
        left = content_length(self.headers)
        while left > 0:
            piece = await self.reader.read(min(left, CHUNK))
            if not piece:
                raise BadRequest("the body ended early")
            left -= len(piece)
            yield piece

    async def _chunks(self):
        while True:
            size = (await self.reader.readline()).split(b";")[0].strip()
            try:
                left = int(size, 16)
            except ValueError:
                raise BadRequest("a chunk without a size") from None
            last = left == 0
            while left > 0:
                piece = await self.reader.readexactly(min(left, CHUNK))
                left -= len(piece)
                yield piece
            await self.reader.readline()
            if last:
                return


class Server:
    """Serves one handler: an async function from Request to (status, value) or to an async generator."""

    def __init__(self, handler):
        self.handler = handler
        self.draining = asyncio.Event()
        self.active = 0

    async def run(self, port, drain_seconds):
        """Serves until SIGTERM or SIGINT, then until what was begun has ended."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self.draining.set)
        server = await asyncio.start_server(self._connection, "0.0.0.0", port, limit=HEAD_LIMIT, backlog=1024)
        await self.draining.wait()
        deadline, quiet = loop.time() + drain_seconds, 0.0
        while quiet < QUIET_SECONDS and loop.time() < deadline:
            await asyncio.sleep(0.1)
            quiet = 0.0 if self.active else quiet + 0.1
        server.close()

    async def _connection(self, reader, writer):
        try:
            while await self._exchange(reader, writer):
                pass
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, ConnectionError):
            pass  # the other side is gone, or has nothing more to say
        finally:
            writer.close()

    async def _exchange(self, reader, writer):
        """One request and its answer; says whether another may follow."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_SECONDS)
        except asyncio.LimitOverrunError:
            return await self._refuse(writer, 431, "headers are limited to 32 KiB")
        self.active += 1
        try:
            request = parse(head, reader, writer)
            return await self._answer(request, await self.handler(request))
        except BadRequest as error:
            return await self._refuse(writer, 400, str(error))
        finally:
            self.active -= 1

    async def _answer(self, request, answer):
        if request.upgraded:
            return False
        async for _ in request.body() if answer.drains_body else nothing():
            pass
        keep = not self.draining.is_set() and request.headers.get("connection", "").lower() != "close"
        await answer.write(request.writer, keep)
        return keep

    async def _refuse(self, writer, status, reason):
        await Json(status, {"error": reason}).write(writer, False)
        return False


class Json:
    """An answer that is known whole."""

    def __init__(self, status, value, drains_body=False):
        self.status, self.value, self.drains_body = status, value, drains_body

    async def write(self, writer, keep):
        body = json.dumps(self.value).encode() + b"\n"
        writer.write(head_of(self.status, keep, f"Content-Length: {len(body)}") + body)
        await writer.drain()


class Stream:
    """An answer that comes in pieces, from an async generator."""

    drains_body = False

    def __init__(self, pieces):
        self.pieces = pieces

    async def write(self, writer, keep):
        writer.write(head_of(200, keep, "Transfer-Encoding: chunked", "text/plain"))
        async for piece in self.pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def head_of(status, keep, length, content_type="application/json"):
    connection = "keep-alive" if keep else "close"
    lines = [
        f"HTTP/1.1 {status} {REASONS[status]}",
        f"Content-Type: {content_type}",
        f"Connection: {connection}",
        length,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def parse(head, reader, writer):
    lines = head.decode("latin-1").split("\r\n")
    try:
        method, target, version = lines[0].split(" ")
    except ValueError:
        raise BadRequest("not an HTTP request") from None
    if version != "HTTP/1.1":
        raise BadRequest("only HTTP/1.1 is spoken here")
    headers = {}
    for line in filter(None, lines[1:]):
        name, colon, value = line.partition(":")
        if not colon:
            raise BadRequest("a header without a colon")
        headers[name.strip().lower()] = value.strip()
    path, _, query = target.partition("?")
    return Request(method, path, query, headers, reader, writer)


def content_length(headers):
    text = headers.get("content-length", "0")
    if not text.isdigit():
        raise BadRequest("Content-Length is no number")
    return int(text)


async def nothing():
    return
    yield
