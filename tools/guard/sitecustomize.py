"""Refuse the network: Python imports this before anything else. Only this machine is reached."""

import socket

LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def guarded(function, host_of):
    """Make the function refuse every host but this one."""

    def call(*args, **kwargs):
        if host_of(args) not in LOCAL:
            raise OSError(f"no network in this test: {host_of(args)!r}")
        return function(*args, **kwargs)

    return call


def of_socket(args):
    """Return the host of connect's arguments."""
    return args[1][0] if isinstance(args[1], tuple) else "localhost"


socket.getaddrinfo = guarded(socket.getaddrinfo, lambda args: args[0])
socket.socket.connect = guarded(socket.socket.connect, of_socket)
socket.socket.connect_ex = guarded(socket.socket.connect_ex, of_socket)
