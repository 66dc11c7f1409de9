"""How much of what was sent over a connection of this machine its other end has not read yet."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios

# <linux/inet_diag.h>, <linux/sock_diag.h>, <linux/netlink.h>
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, _NLMSG_ERROR = 4, 20, 1, 2
_ALL_STATES = 0xFFFFFFFF
_ANY_COOKIE = b"\xff" * 8
_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI 2s2s16s16sI8s")
_ANSWER = struct.Struct("=BBBB 48s III")  # as far as the queues


def unread(sock: socket.socket) -> int | None:
    """Bytes; None when nobody can say: the other end is gone, or the kernel does not tell."""
    if sock.family == socket.AF_UNIX:
        return _own_queue(sock)
    if _own_queue(sock):
        return _own_queue(sock)
    return _queue_of_peer(sock)


def _own_queue(sock: socket.socket) -> int:
    """What our side holds: over TCP until the other kernel has it, else until it is read."""
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0])


def _queue_of_peer(sock: socket.socket) -> int | None:
    theirs, ours = sock.getpeername(), sock.getsockname()
    identity = [part for address in (theirs, ours) for part in (_port(address), _host(address))]
    request = _REQUEST.pack(
        *(socket.AF_INET, socket.IPPROTO_TCP, 0, 0, _ALL_STATES),
        *(identity[0], identity[2], identity[1], identity[3], 0, _ANY_COOKIE),
    )
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(5)
        kernel.sendto(header + request, (0, 0))
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
        return None
    return int(_ANSWER.unpack_from(answer, _HEADER.size)[6])


def _port(address: tuple[str, int]) -> bytes:
    return struct.pack("!H", address[1])


def _host(address: tuple[str, int]) -> bytes:
    return socket.inet_aton(address[0]).ljust(16, b"\0")
