"""Network cameras for tests: MJPEG over HTTP and H.264 over RTSP, on the loopback, stopped with the test.

Each picture carries the number under which it was sent (:func:`read_number`), so that a test knows which
picture it holds and how old it is.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Self

import cv2
import numpy as np

from edge_agent.frames import Pixels

NUMBER_BITS = 16
_CELL = 32
"""A bit is drawn as a square of this size, which survives JPEG and H.264."""

_NO_EPHEMERAL_PORTS = range(20000, 32000)
"""Below Linux's ephemeral range: a client that retries a closed port can never meet itself there."""


def numbered_picture(number: int, size: tuple[int, int] = (480, 640)) -> Pixels:
    """A picture of ``size`` (height, width), 128 x 128 at least, that shows the number's lowest 16 bits."""
    pixels = np.full((*size, 3), (40, 90, 160), np.uint8)
    for bit in range(NUMBER_BITS):
        top, left = _cell(bit)
        pixels[top : top + _CELL, left : left + _CELL] = 255 if number >> bit & 1 else 0
    return pixels


def read_number(pixels: Pixels) -> int:
    """The number that :func:`numbered_picture` drew."""
    number = 0
    for bit in range(NUMBER_BITS):
        top, left = _cell(bit)
        inner = pixels[top + 8 : top + _CELL - 8, left + 8 : left + _CELL - 8]
        number |= int(inner.mean() > 127) << bit
    return number


def _cell(bit: int) -> tuple[int, int]:
    return bit // 4 * _CELL, bit % 4 * _CELL


class StreamServer:
    """A server that can go away and come back on the same port; used in ``with``."""

    scheme = ""

    def __init__(
        self, fps: float = 30.0, size: tuple[int, int] = (480, 640), login: str | None = None
    ) -> None:
        """``login`` is ``user:password``, asked for by Basic authentication."""
        self.fps = fps
        self.size = size
        self.login = login
        self.port = 0
        self.silent = False
        """Accept, and never answer."""
        self.repeats = False
        """Go on sending the last picture: the sensor hangs, the rest of the camera does not."""
        self.connected = threading.Semaphore(0)
        """Released at each connection that was accepted."""
        self.sent_ns: dict[int, int] = {}
        """When each picture was handed to the network or the encoder: CLOCK_MONOTONIC."""
        self._running = threading.Event()
        self._running.set()
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._clients: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._number = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the stream is; without the login."""
        return f"{self.scheme}://127.0.0.1:{self.port}/stream"

    def url_with(self, login: str) -> str:
        """The address with ``user:password`` in it."""
        return f"{self.scheme}://{login}@127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        """Listen; on the same port as before where there was one."""
        self._stopping.clear()
        self._listener = _listen(self.port)
        self.port = self._listener.getsockname()[1]
        self._begin(self._accept, self._listener)

    def stop(self) -> None:
        """Drop every client and stop listening; all threads have ended when it returns."""
        self._stopping.set()
        self._running.set()
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.drop_clients()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Gone for as long as the block lasts."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def drop_clients(self) -> None:
        """End every connection; new ones are welcome."""
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Send nothing more, and keep every connection."""
        self._running.clear()

    def thaw(self) -> None:
        """Go on after :meth:`freeze`."""
        self._running.set()

    def serve(self, client: socket.socket) -> None:
        """Talk to one client until it leaves."""
        raise NotImplementedError

    def next_picture(self) -> Pixels:
        """The next numbered picture; notes when."""
        self._number += not self.repeats
        self.sent_ns[self._number & 0xFFFF] = time.monotonic_ns()
        return numbered_picture(self._number, self.size)

    def pace(self) -> bool:
        """Wait for one interval, and while frozen; False once the server stops."""
        self._stopping.wait(1 / self.fps)
        while not self._running.wait(0.1):
            if self._stopping.is_set():
                return False
        return not self._stopping.is_set()

    def welcome(self, head: bytes) -> bool:
        """Whether a request with this head may pass."""
        if self.login is None:
            return True
        return b"Basic " + base64.b64encode(self.login.encode()) in head

    def _begin(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._clients.add(client)
                self.connected.release()
                self._begin(self._talk, client)

    def _talk(self, client: socket.socket) -> None:
        try:
            with client, contextlib.suppress(OSError):
                if self.silent:
                    self._stopping.wait()
                else:
                    self.serve(client)
        finally:
            self._clients.discard(client)


def _listen(port: int) -> socket.socket:
    if port:
        return socket.create_server(("127.0.0.1", port))
    for candidate in random.sample(_NO_EPHEMERAL_PORTS, 50):
        with contextlib.suppress(OSError):
            return socket.create_server(("127.0.0.1", candidate))
    raise OSError("no free port for a stream server")


def read_head(client: socket.socket) -> bytes:
    """A request up to its empty line; b"" when the client left."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = client.recv(1)
        if not byte:
            return b""
        head += byte
    return head


class MjpegServer(StreamServer):
    """``multipart/x-mixed-replace`` JPEGs, as network cameras and ESP32 boards send them."""

    scheme = "http"
    spoil = "nothing"
    """nothing | half (every JPEG is cut in half, lengths still true) | truncate (the connection ends within a
    JPEG) | garbage (random bytes in place of pictures) | status (404)
    """

    def serve(self, client: socket.socket) -> None:
        """Answer one request, with pictures for as long as the client stays."""
        head = read_head(client)
        if not self.welcome(head):
            client.sendall(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
            )
            return
        if self.spoil == "status":
            client.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        kind = b"multipart/x-mixed-replace; boundary=picture"
        client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + kind + b"\r\n\r\n")
        while self.pace():
            jpeg = self._encoded()
            length = str(len(jpeg)).encode()
            part = b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: " + length + b"\r\n\r\n" + jpeg
            if self.spoil == "truncate" and self._number % 10 == 0:
                client.sendall(part[: len(part) // 2])
                return
            client.sendall(part + b"\r\n")

    def _encoded(self) -> bytes:
        jpeg = bytes(cv2.imencode(".jpg", self.next_picture(), [cv2.IMWRITE_JPEG_QUALITY, 80])[1])
        if self.spoil == "half":
            return jpeg[: len(jpeg) // 2]
        return random.randbytes(len(jpeg)) if self.spoil == "garbage" else jpeg


class RtspServer(StreamServer):
    """H.264 from ffmpeg, in RTP interleaved with RTSP over TCP; UDP is refused."""

    scheme = "rtsp"
    garbles = False
    """Every packet has one of its bytes turned, behind the header of RTP."""

    def start(self) -> None:
        """Start the encoder and listen."""
        self._playing: set[socket.socket] = set()
        self._packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._packets.bind(("127.0.0.1", 0))
        self._packets.settimeout(0.2)
        self._encoder: subprocess.Popen[bytes] | None = None
        self._start_encoder()
        super().start()
        self._begin(self._encode)
        self._begin(self._forward)

    def stop(self) -> None:
        """Stop the encoder too."""
        super().stop()
        self._end_encoder()
        self._packets.close()

    def _start_encoder(self) -> None:
        """For the present size; in place of the one that encoded another size."""
        self._end_encoder()
        self._encoded_size = self.size
        self._encoder = subprocess.Popen(self._command(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def _end_encoder(self) -> None:
        if self._encoder is not None:
            self._encoder.kill()
            self._encoder.wait()
            with contextlib.suppress(OSError):
                assert self._encoder.stdin is not None
                self._encoder.stdin.close()

    def _command(self) -> list[str]:
        height, width = self.size
        port = self._packets.getsockname()[1]
        raw = [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "bgr24",
            "-s",
            f"{width}x{height}",
            "-r",
            f"{self.fps:g}",
            "-i",
            "-",
        ]
        h264 = [
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-pix_fmt",
            "yuv420p",
            "-g",
            "15",
        ]
        rtp = ["-payload_type", "96", "-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=1300"]
        return ["ffmpeg", "-nostdin", "-loglevel", "quiet", *raw, *h264, *rtp]

    def _encode(self) -> None:
        with contextlib.suppress(OSError):
            while self.pace():
                pixels = self.next_picture()
                if pixels.shape[:2] != self._encoded_size:
                    self._start_encoder()
                assert self._encoder is not None
                assert self._encoder.stdin is not None
                self._encoder.stdin.write(pixels.tobytes())
                self._encoder.stdin.flush()

    def _forward(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                packet = self._packets.recv(65535)
                is_rtcp = 200 <= packet[1] <= 204
                packet = _garbled(packet) if self.garbles else packet
                framed = b"$" + bytes([is_rtcp]) + len(packet).to_bytes(2, "big") + packet
                for client in list(self._playing):
                    try:
                        client.sendall(framed)
                    except OSError:
                        self._playing.discard(client)

    def serve(self, client: socket.socket) -> None:
        """Answer requests until the client leaves."""
        try:
            while head := read_head(client):
                # What the client sends between requests is RTCP, framed by "$".
                head = head[max(head.rfind(b"\r\n", 0, head.find(b" RTSP/1.0")), 0) :].lstrip()
                client.sendall(self._answer(head))
                if b"PLAY " in head:
                    self._playing.add(client)
        finally:
            self._playing.discard(client)

    def _answer(self, head: bytes) -> bytes:
        sequence = next(
            (line for line in head.split(b"\r\n") if line.lower().startswith(b"cseq:")), b"CSeq: 0"
        )
        status, extra, body = b"200 OK", b"Session: 4711\r\n", b""
        if not self.welcome(head):
            status, extra = b"401 Unauthorized", b'WWW-Authenticate: Basic realm="x"\r\n'
        elif b"OPTIONS " in head:
            extra = b"Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"
        elif b"DESCRIBE " in head:
            body = (
                b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
                b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\n"
                b"a=control:trackID=0\r\n"
            )
            extra = b"Content-Type: application/sdp\r\n"
        elif b"SETUP " in head and b"RTP/AVP/TCP" not in head:
            status = b"461 Unsupported Transport"
        elif b"SETUP " in head:
            extra += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        length = str(len(body)).encode()
        return (
            b"RTSP/1.0 "
            + status
            + b"\r\n"
            + sequence
            + b"\r\n"
            + extra
            + b"Content-Length: "
            + length
            + b"\r\n\r\n"
            + body
        )


def _garbled(packet: bytes) -> bytes:
    place = random.randrange(12, len(packet))
    return packet[:place] + random.randbytes(1) + packet[place + 1 :]
