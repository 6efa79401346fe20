"""The process in which a submission runs. It knows no test, no solution and no other student.

Started by sandbox.py as ``student.py SOCKET FOLDER LIBRARY LIMITS``. It imports what submissions
need, gives up its rights, and then answers: it runs a cell, hands out a value, calls a function.
"""

import ctypes
import io
import json
import os
import resource
import socket
import sys
import traceback
from pathlib import Path

REFUSED = {  # by Python's own record of what a program does
    **dict.fromkeys(
        ("os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec", "os.kill"),
        "starts or ends a process",
    ),
    "subprocess.Popen": "starts a process",
    "socket.__new__": "uses the network",
    "ctypes.dlopen": "loads a library",
}
READ, WRITE = 0b1101, (1 << 15) - 1  # rights of Landlock: execute and read, and all of ABI 3


def landlock(folder: Path, library: Path) -> bool:
    """Let this process read Python and the library, and write in its folder: nothing else.

    Returns:
        Whether the kernel can do this (Linux 5.13 and newer, unless it is switched off).
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def rule(path: str, rights: int) -> None:
        if os.path.exists(path):
            place = os.open(path, os.O_PATH)
            if not os.path.isdir(path):
                rights &= 0b10000000000111  # what a file can have: execute, write, read, truncate
            packed = rights.to_bytes(8, sys.byteorder) + place.to_bytes(4, sys.byteorder)
            libc.syscall(445, rules, 1, packed, 0)
            os.close(place)

    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        return False
    handled = WRITE if abi >= 3 else WRITE & ~(1 << 14) if abi == 2 else WRITE & ~(3 << 13)
    rules = libc.syscall(444, handled.to_bytes(8, sys.byteorder), 8, 0)
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev/urandom", "/opt")
    for path in {sys.prefix, sys.base_prefix, str(library / "tigerdiff"), *system}:
        rule(path, READ & handled)
    rule(str(folder), handled)
    rule("/dev/null", handled)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    return libc.syscall(446, rules, 0) == 0


def limit(limits: dict) -> None:
    """Bound what this process may take: seconds of CPU, memory, files, processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    now = int(Path("/proc/self/statm").read_text().split()[0]) * page
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    bounds = {
        resource.RLIMIT_AS: now + limits["memory"],
        resource.RLIMIT_CPU: int(used) + limits["cpu"],
        resource.RLIMIT_FSIZE: limits["file"],
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
    }
    if limits["alone"]:  # else it would count the user's other processes too
        bounds[resource.RLIMIT_NPROC] = limits["processes"]
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))


def refuse(event: str, _: tuple) -> None:
    """Stop what a submission has no need of, with a sentence that says so."""
    if event in REFUSED:
        raise PermissionError(f"the notebook {REFUSED[event]} ({event}): not while it is graded")


class Output(io.TextIOBase):
    """Keeps the beginning of what is printed; far too much is an error."""

    def __init__(self, most: int) -> None:
        self.text, self.printed, self.most = "", 0, most

    def write(self, text: str) -> int:
        """Keep the first 4000 characters.

        Raises:
            OSError: more was printed than is allowed.
        """
        self.printed += len(text)
        if len(self.text) < 4000:
            self.text = (self.text + text)[:4000]
        if self.printed > self.most:
            raise OSError(f"the notebook printed more than {self.most:,} characters")
        return len(text)


def said(error: BaseException) -> str:
    """The error in one line, with the line of the notebook where it happened."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "<cell>"]
    where = f" (line {lines[-1].lineno} of the cell)" if lines else ""
    empty = "this task is not done yet" if isinstance(error, NotImplementedError) else "no words"
    return f"{type(error).__name__}: {str(error)[:600] or empty}{where}"


def serve(channel, output: Output, given: dict) -> None:
    """Answer the grader until it hangs up; ``given`` is what every notebook has."""
    space: dict = {"__name__": "__main__", **given}

    def callback(number: int, args: tuple, kwargs: dict):
        channel.send({"callback": number, "args": args, "kwargs": kwargs})
        while not {"value", "error"} & (reply := channel.receive()).keys():
            answer(reply)  # the grader's function calls one of ours
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["value"]

    def answer(asked: dict) -> None:
        try:
            if "cell" in asked:
                exec(compile(asked["cell"], "<cell>", "exec"), space)
                reply = {"value": None}
            elif "name" in asked:
                there = asked["name"] in space
                reply = {"value": space.get(asked["name"])} if there else {"missing": True}
            else:
                function = channel.functions[asked["call"]]
                reply = {"value": function(*asked["args"], **asked["kwargs"])}
            channel.send({**reply, "printed": output.text})
        except BaseException as error:
            channel.send({"error": said(error), "printed": output.text})
        output.text = ""

    channel.call = callback
    while True:
        answer(channel.receive())


def main() -> None:
    """Import, give up rights, say so, and answer."""
    number, folder, library, limits = sys.argv[1:]
    sys.path.insert(0, library)
    sock = socket.socket(fileno=int(number))
    import matplotlib.pyplot  # noqa: F401
    import torch
    from IPython.display import display
    from wire import Channel

    import tigerdiff as td

    torch.set_num_threads(1)
    limits = json.loads(limits)
    for name in limits["forbidden"]:
        forbid(td, name)
    os.chdir(folder)
    files = landlock(Path(folder), Path(library))
    limit(limits)
    sys.stdout = sys.stderr = output = Output(limits["output"])
    sys.addaudithook(refuse)
    channel = Channel(sock)
    channel.send({"ready": True, "files": files})
    serve(channel, output, {"display": display})


def forbid(td, name: str) -> None:
    """Take from the library what the student shall write."""
    owner = sys.modules[getattr(td, name).__module__]

    def refused(*_, **__):
        raise NotImplementedError(f"write it yourself: td.{name} is what this assignment asks for")

    setattr(owner, name, refused)
    setattr(td, name, refused)


if __name__ == "__main__":
    main()
