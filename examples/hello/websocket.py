"""WebSockets (RFC 6455), as far as an echo needs them: text, binary, ping, close."""

import asyncio
import base64
import hashlib

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GOING_AWAY, TOO_BIG = 1001, 1009
MESSAGE_LIMIT = 1024 * 1024


def is_upgrade(request):
    return request.headers.get("upgrade", "").lower() == "websocket" and "sec-websocket-key" in request.headers


async def echo(request, leave):
    """Sends back what comes until the other side closes, or `leave` is set (then 1001)."""
    request.upgraded = True
    accept(request)
    leaving = asyncio.ensure_future(leave.wait())
    try:
        while True:
            reading = asyncio.ensure_future(read_message(request.reader))
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                reading.cancel()
                return await close(request.writer, GOING_AWAY)
            kind, payload = reading.result()
            if kind == CLOSE:
                return await send(request.writer, CLOSE, payload[:2])
            if kind != PONG:
                await send(request.writer, PONG if kind == PING else kind, payload)
    except ValueError:
        await close(request.writer, TOO_BIG)
    finally:
        leaving.cancel()


def accept(request):
    key = request.headers["sec-websocket-key"].encode()
    answer = base64.b64encode(hashlib.sha1(key + GUID).digest())
    request.writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + answer + b"\r\n\r\n"
    )


async def read_message(reader):
    """A whole message: (kind, payload). Control frames between fragments come out first."""
    first, parts = None, bytearray()
    while True:
        final, kind, payload = await read_frame(reader)
        if kind >= CLOSE:
            return kind, payload
        first = kind if first is None else first
        parts += payload
        if len(parts) > MESSAGE_LIMIT:
            raise ValueError("message too big")
        if final:
            return first, bytes(parts)


async def read_frame(reader):
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2), "big")
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8), "big")
    if length > MESSAGE_LIMIT:
        raise ValueError("frame too big")
    mask = await reader.readexactly(4) if head[1] & 0x80 else bytes(4)
    data = await reader.readexactly(length)
    return bool(head[0] & 0x80), head[0] & 0x0F, unmask(data, mask)


def unmask(data, mask):
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")


async def close(writer, code):
    await send(writer, CLOSE, code.to_bytes(2, "big"))


async def send(writer, kind, payload):
    length = len(payload)
    if length < 126:
        head = bytes([0x80 | kind, length])
    elif length < 65536:
        head = bytes([0x80 | kind, 126]) + length.to_bytes(2, "big")
    else:
        head = bytes([0x80 | kind, 127]) + length.to_bytes(8, "big")
    writer.write(head + payload)
    await writer.drain()
