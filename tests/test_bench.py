"""The comparisons in bench/: their arithmetic, networks of one size, and that each part runs."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # bench is not installed

import bench.__main__  # noqa: E402
from bench import chapters, gpu, networks, quality, step, timing  # noqa: E402

HEAD = {"part", "command", "date", "seed", "processor", "cores", "threads", "versions", "rows"}


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("library", list(networks.BUILDERS)[1:])
def test_the_peers_networks_have_our_parameters_and_flops(library, size):
    """Within a tenth; if not: python -m bench.match. Those installed are counted anew."""
    stored = networks.matched(size)
    for key in ("parameters", "forward_flops", "training_flops"):
        assert stored[library][key] == pytest.approx(stored[networks.OURS][key], rel=0.1), key
        for name in {networks.OURS, library} & set(networks.LIBRARIES):
            counted = networks.counts(name, size)[key]
            assert stored[name][key] == counted, f"{name}: the file is out of date"


def test_flops_of_a_convolution_are_counted_as_multiplications_and_additions():
    import torch

    class Conv(torch.nn.Conv2d):
        def forward(self, xt, t):
            return super().forward(xt)

    counted = networks.counted(Conv(3, 3, 3, padding=1), 8)
    flops = 2 * 9 * 3 * 3 * 8 * 8
    # Backward: to the weights alone, as nothing asks for the gradient of the image.
    assert counted == {"parameters": 84, "forward_flops": flops, "training_flops": 2 * flops}


def test_functions_are_run_in_turn_after_a_warm_up():
    calls = []
    seconds = timing.interleaved(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3
    )
    assert calls == ["a", "b"] * 4
    assert {name: len(runs) for name, runs in seconds.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_that_of_neighbouring_runs():
    """The machine slowed down threefold in the last two runs: the ratio does not feel it."""
    ours, theirs = timing.rows("x", {"ours": [1, 1, 3, 3], "theirs": [2, 2, 6, 6]}, each=2)
    assert (theirs["ratio"], theirs["ratio_low"], theirs["ratio_high"]) == (0.5, 0.5, 0.5)
    assert (theirs["seconds"], theirs["lowest"], theirs["highest"]) == (2, 1, 3)
    assert ours["ratio"] == 1


def test_the_crossing_lies_on_a_power_law():
    curve = [{"seconds": s, "frechet": 1000 / s**0.5} for s in (1, 4, 16, 64)]
    assert quality.crossing(curve, 1000 / 30**0.5) == pytest.approx(30)
    assert quality.crossing(curve, 1000 / 64**0.5) == pytest.approx(64)
    assert quality.crossing(curve, 100) is None
    assert quality.crossing(curve, 2000) == 1


def quick(monkeypatch, out, *parts):
    """Run parts as `python -m bench ... --quick` does; returns what they wrote, by part."""
    monkeypatch.setattr(sys, "argv", ["bench", *parts, "--quick", "--out", str(out)])
    monkeypatch.setattr(step, "CONVOLUTIONS", ((8, 8),))
    monkeypatch.setattr(step, "MATRICES", 64)
    bench.__main__.main()
    return {part: json.loads((out / f"{part}.json").read_text()) for part in parts}


def test_a_part_is_measured_and_written_as_the_book_reads_it(tmp_path, monkeypatch, capsys):
    found = quick(monkeypatch, tmp_path, "overhead", "add_noise")
    printed = capsys.readouterr().out
    for part, result in found.items():
        assert result.keys() >= HEAD and result["part"] == part and result["quick"] is True
        for row in result["rows"]:
            assert row["what"] in printed and row["name"] in printed
            assert 0 < row["lowest"] <= row["seconds"] <= row["highest"]
            assert 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert any("dpm_solver" in row["what"] for row in found["overhead"]["rows"])


@pytest.mark.slow
def test_the_dearer_parts_run_too(tmp_path, monkeypatch):
    parts = ["step", "profile", "sampling", "folder", "import", "quality"]
    found = quick(monkeypatch, tmp_path, *parts)
    libraries = set(networks.LIBRARIES)
    for row in found["step"]["rows"]:
        assert row["share_of_peak"] > 0 and row["gflops"] > 0
    assert set(found["step"]["sizes"]["16"]) == libraries
    for what in {row["what"] for row in found["profile"]["rows"]}:
        spent = {
            row["name"]: row["share"] for row in found["profile"]["rows"] if row["what"] == what
        }
        assert sum(spent.values()) == pytest.approx(1, abs=1e-3)
        assert spent["convolutions"] > 0 and spent["group norm"] > 0
    assert set(found["quality"]["curves"]) == libraries
    for curve in found["quality"]["curves"].values():
        assert len(curve) == 2 and all(math.isfinite(point["frechet"]) for point in curve)
    assert {row["name"] for row in found["quality"]["rows"]} == libraries
    assert all(row["images_per_second"] > 0 for row in found["folder"]["rows"])


def test_a_part_that_does_not_exist_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "speed"])
    with pytest.raises(SystemExit) as stopped:
        bench.__main__.main()
    assert stopped.value.code == 2
    assert "no part is called speed" in capsys.readouterr().err


@pytest.mark.parametrize("ipython", [True, False])
def test_a_page_is_run_as_plain_python_and_its_last_value_is_shown(ipython, monkeypatch, tmp_path):
    """Its first cell, which installs, is left out; a cell that fails is named."""
    made = []
    monkeypatch.setattr(chapters, "shown", made.append)
    monkeypatch.setattr("IPython.display.display", None)  # put back at the end
    if not ipython:
        for name in ("IPython", "IPython.display"):
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(chapters, "PAGES", tmp_path)
    monkeypatch.chdir(tmp_path)
    shows = "from IPython.display import display\nhandle = display(1)\nhandle.update(2)"
    sources = ["%pip install x", "a = 1\na + 1", "b = a + 2;\nif b:\n    c = 4", "c", shows]
    cells = [{"cell_type": "code", "source": [source]} for source in sources]
    cells.insert(1, {"cell_type": "markdown", "source": ["# Title"]})
    (tmp_path / "page.ipynb").write_text(json.dumps({"cells": cells}))
    assert chapters.run("page")["cells"] == 4
    assert made == [2, 4, 1, 2, None]
    cells.append({"cell_type": "code", "source": ["1 / 0"]})
    (tmp_path / "page.ipynb").write_text(json.dumps({"cells": cells}))
    with pytest.raises(ZeroDivisionError) as raised:
        chapters.run("page")
    assert "page, code cell 6" in str(raised.getrepr())


def test_what_this_hardware_found_before_is_kept(tmp_path):
    path, here = tmp_path / "gpu-step.json", {"hardware": "Tesla T4", "torch": "2", "dry": False}
    assert gpu.found_before(path, here) is None
    for more, kept in (({}, True), ({"hardware": "CPU"}, False), ({"dry": True}, False)):
        path.write_text(json.dumps({**here, "rows": [], **more}))
        assert (gpu.found_before(path, here) is not None) is kept


def test_pages_that_ran_are_not_run_again_and_those_without_time_are_named(monkeypatch):
    ran = []

    def python(*arguments, seconds):
        ran.append(arguments[-1])
        return '{"page": "b", "seconds": 1.0}', ""

    monkeypatch.setattr(gpu, "python", python)
    before = [{"page": "a", "seconds": 2.0}, {"page": "b", "error": "took longer than 60 s"}]
    until = gpu.time.monotonic() + 60
    assert gpu.chapters(60, ["a", "b"], until, before)["rows"] == [
        {"page": "a", "seconds": 2.0}, {"page": "b", "seconds": 1.0}
    ]  # fmt: skip
    assert ran == ["b"]
    late = gpu.chapters(60, ["a", "b"], until - 60, before)
    assert late["error"] == "failed: b" and "run it again" in late["rows"][1]["error"]
    assert ran == ["b"]


def test_a_page_that_was_not_asked_for_before_is_run():
    before = {"part": "chapters", "rows": [{"page": "a", "seconds": 2.0}]}
    assert gpu.finished(before, ["a"]) and not gpu.finished(before, ["a", "b"])
    assert not gpu.finished({**before, "error": "failed: a"}, ["a"])
    assert gpu.finished({"part": "step", "rows": [{"method": "a"}]}, ["a", "b"])


def test_the_halves_fit_and_all_pages_are_run():
    first = sum(seconds for half, seconds in gpu.LIMITS.values() if half == 1)
    assert first <= gpu.HALF_SECONDS and 2 * gpu.HALF_SECONDS <= 480
    assert {path.stem for path in (ROOT / "book").glob("*.ipynb")} <= set(gpu.listed_pages())


def test_no_dry_or_quick_result_is_where_the_book_reads():
    assert ROOT / "bench/results" not in gpu.DRY.parents
    for path in (ROOT / "bench/results").glob("*.json"):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert not (isinstance(found, dict) and (found.get("dry") or found.get("quick"))), path


@pytest.mark.slow
def test_make_gpu_runs_to_its_end_on_a_cpu_and_says_that_it_was_dry(tmp_path):
    """The tests and a chapter; a second run does nothing more."""
    parts = ["tests", "chapters"]
    command = [
        sys.executable,
        "-m",
        "bench.gpu",
        "--dry",
        "--out",
        str(tmp_path),
        "--parts",
        *parts,
    ]
    command += ["--pages", "02_forward_noising"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in parts:
        found = json.loads((tmp_path / f"gpu-{part}.json").read_text())
        assert found["dry"] is True and found["rows"] and "error" not in found
    tests = json.loads((tmp_path / "gpu-tests.json").read_text())["rows"]
    assert len(tests) >= 11 and all(row["passed"] for row in tests)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert again.count("done before") == 2
