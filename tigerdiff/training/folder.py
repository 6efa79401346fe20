"""A run's folder: its lock, the point where it resumes, and its two logs."""

import json
import logging
import math
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from tigerdiff.data.files import replacing
from tigerdiff.training import checkpoints
from tigerdiff.training.config import TrainConfig
from tigerdiff.unet import UNet

RUINED = 10.0  # a loss far above 1, which is what answering 0 gets: the weights are of no use
MAY_CHANGE = {  # when a run is resumed
    "data", "out", "steps", "learning_rate", "compile", "checkpoint_every", "sample_every",
    "keep_last", "resume", "conditional", "device",
}  # fmt: skip
COLUMNS = "step,loss,images_per_second,learning_rate,seconds"

logger = logging.getLogger(__name__)


def check_same_run(config: TrainConfig, network: UNet, state: dict[str, Any]) -> None:
    """Raise ValueError, naming the argument, unless a checkpoint of this state can be resumed."""
    now = config.to_json()
    before = {"flip": True} | state["config"]  # the first runs did not say it
    pairs = [(name, now.get(name), then) for name, then in before.items()]
    for name in sorted(state["network"].keys() | network.config):
        pairs.append((f"network {name}", network.config.get(name), state["network"].get(name)))
    for name, ours, then in pairs:
        if name not in MAY_CHANGE and in_order(ours) != in_order(then):
            if name == "classes" and not (ours and then):
                how = "conditional: resume with" if then else "unconditional: resume without"
                raise ValueError(f"the run in {config.out} is {how} conditional")
            remedy = f"resume with the same {name}, or start a new run in another folder"
            raise ValueError(
                f"{name} is {ours!r} but the run in {config.out} has {then!r}: {remedy}"
            )


def in_order(value: Any) -> Any:
    """Return an argument to be compared: classes in their order, as the network's rows have it."""
    return list(value.items()) if value and isinstance(value, dict) else value or None


def starting_point(config: TrainConfig, network: UNet) -> tuple[Path | None, int]:
    """Return the checkpoint to resume from and its step, or (None, 0); raise if that is wrong."""
    if not config.resume:
        copies = sorted(Path(config.out, "checkpoints").glob("step-*/*"))  # of any kind
        there = checkpoints.complete_checkpoints(config.out) or [x.parent for x in copies]
        if there:
            remedy = "continue with --resume (resume=True), or choose another out"
            raise FileExistsError(f"{config.out} holds a run already ({there[-1].name}): {remedy}")
        check_foreign(Path(config.out))
        return None, 0
    folder = checkpoints.find_checkpoint(config.out)
    state = checkpoints.read_state(folder)
    check_same_run(config, network, state)
    if state["step"] > config.steps:
        reached = f"the run in {config.out} is at step {state['step']} already: name more steps"
        raise ValueError(f"steps is {config.steps}, counted from the very start, but {reached}")
    return folder, state["step"]


def check_foreign(out: Path) -> None:
    """Raise FileExistsError if a config.json or log.csv in a folder is not of a run."""
    for name, mark in (("config.json", '"checkpoint_every"'), ("log.csv", COLUMNS)):
        path = out / name
        if path.exists() and (content := path.read_bytes()) and mark.encode() not in content:
            raise FileExistsError(f"{path} is of no training run: choose another out")


def rows_of(table: Path) -> list[tuple[int, float, float, str]]:
    """Return step, loss, seconds and text of each line of a log.csv; none without a file.

    The last line may be half a line, after a power cut. Raise ValueError if it is no such table.
    """
    head, *lines = (table.read_text("utf-8") if table.exists() else "").splitlines() or [COLUMNS]
    if head != COLUMNS:
        raise ValueError(f"its first line is not {COLUMNS}")
    rows = []
    for line in lines:
        try:
            step, loss, _, _, seconds = line.split(",")
            rows.append((int(step), float(loss), float(seconds), line))
        except ValueError:
            if line is not lines[-1]:
                raise
    return rows


def advice_on_divergence(config: TrainConfig, measured: dict[int, float]) -> str:
    """Return the sentence on a loss that is no longer finite, or whose gradient is not.

    ``measured`` are the losses of the steps that are not yet in the log, up to the one at fault. A
    step's loss is that of the weights before it: a checkpoint is ruined if the next loss is large.
    """
    there = checkpoints.complete_checkpoints(config.out)
    losses = measured.copy()
    with suppress(ValueError):  # of a log.csv that a spreadsheet has saved meanwhile
        losses |= {step: loss for step, loss, *_ in rows_of(Path(config.out) / "log.csv")}
    sound = [x for x in there if losses.get(int(x.name[5:]) + 1, math.inf) < RUINED]
    lower = f"a lower learning rate than {config.learning_rate:g} (--learning-rate)"
    remedy = f"start again in another folder, with {lower}"
    if sound:
        remedy = f"continue from {sound[-1].name} with --resume (resume=True) and {lower}"
        if ruined := ", ".join(x.name for x in there[there.index(sound[-1]) + 1 :]):
            remedy = f"delete {ruined}, which it has ruined, in {there[-1].parent}, then {remedy}"
    return f"the loss or its gradient is no longer finite at step {max(measured)}: {remedy}"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock a run's folder for this process; the lock ends with the process, also after a kill.

    Raise FileExistsError if another process is training in it, with its number and since when.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = f"out cannot be {out} ({error.strerror})"
        raise type(error)(f"{reason}: choose another out, like runs/tigers") from error
    owner = out / ".owner.json"
    # The same process may lock it twice: a notebook may start a cell again in mid-run.
    lock = FileLock(out / ".lock", timeout=0, thread_local=False, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        remedy = "wait until it ends, or choose another out"
        raise FileExistsError(f"{out} is in use{described(owner)}: {remedy}") from None
    except (NotImplementedError, OSError) as error:
        logger.warning("%s cannot be locked (%s): do not start a second run in it", out, error)
        yield
        return
    try:
        own = {"process": os.getpid(), "computer": socket.gethostname(), "since": time.time()}
        owner.write_text(json.dumps(own) + "\n", encoding="utf-8")
        yield
    finally:
        if not lock.is_locked or lock.lock_counter <= 1:
            owner.unlink(missing_ok=True)
        lock.release()


def described(owner: Path) -> str:
    """Say in a clause who has a folder and for how long, as far as it is known."""
    try:
        who = json.loads(owner.read_text(encoding="utf-8"))
        minutes = (time.time() - who["since"]) / 60
        return f" by process {who['process']} on {who['computer']} for {minutes:.0f} minutes"
    except (OSError, ValueError, KeyError, TypeError):  # it is just being written
        return " by another run"


class RunLog:
    """The files log.csv, a line for each step, and log.txt, the warnings, in a run's folder."""

    def __init__(self, out: Path) -> None:
        self.path = out / "log.csv"
        self.table: IO[bytes] | None = None
        # The warnings name photos, which need not be UTF-8.
        self.warnings = logging.FileHandler(
            out / "log.txt", encoding="utf-8", errors="backslashreplace"
        )
        self.warnings.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.warnings.setLevel(logging.WARNING)
        # On a full disk a warning cannot be written: what comes next says so.
        self.warnings.handleError = lambda record: None  # type: ignore[method-assign]
        logging.getLogger("tigerdiff").addHandler(self.warnings)

    def begin(self, start: int) -> None:
        """Open log.csv without the lines after ``start``, which come again, and half a line.

        One that cannot be read, as after a spreadsheet has saved it, is kept under another name.
        """
        try:
            kept = [row for row in rows_of(self.path) if row[0] <= start]
        except ValueError as error:
            kept, aside = [], self.path.with_name(f"log-damaged-{start:06d}.csv")
            os.replace(self.path, aside)
            logger.warning("%s cannot be read (%s): it is now %s", self.path, error, aside.name)
        self.seconds = kept[-1][2] if kept else 0.0
        with replacing(self.path) as part:
            part.write_text("\n".join([COLUMNS, *(row[-1] for row in kept)]) + "\n")
        self.table = self.path.open("ab", buffering=0)  # on a full disk nothing waits

    def write(self, records: Sequence[tuple[int, float, float, float]], seconds: float) -> None:
        """Add (step, loss, images per second, learning rate) of steps that took ``seconds``."""
        assert self.table is not None, "begin() comes first"
        lines = []
        for step, loss, speed, learning_rate in records:
            self.seconds += seconds / len(records)
            lines.append(f"{step},{loss:.6g},{speed:.4g},{learning_rate:.6g},{self.seconds:.3f}\n")
        self.table.write("".join(lines).encode())

    def close(self) -> None:
        """Close both files."""
        logging.getLogger("tigerdiff").removeHandler(self.warnings)
        self.warnings.close()
        if self.table:
            self.table.close()
