"""Find the Chromium that the browser tests drive, and fetch it where there is none.

python tools/chromium.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

OS_RELEASE = Path("/etc/os-release")


def find() -> str | None:
    """Return the path of Playwright's own Chromium or of a system one, None if there is neither."""
    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    if Path(own).exists():
        return own
    system = shutil.which("chromium")
    # Ubuntu's snap is confined and cannot be driven.
    return None if system is None or "/snap/" in system else system


def fetch() -> None:
    """Install Chromium: Debian's package where that is allowed, elsewhere Playwright's build."""
    debian = OS_RELEASE.exists() and "ID=debian" in OS_RELEASE.read_text().splitlines()
    become_root = [] if hasattr(os, "geteuid") and os.geteuid() == 0 else ["sudo", "-n"]
    may = not become_root or (
        shutil.which("sudo") and subprocess.run([*become_root, "true"], check=False).returncode == 0
    )
    if debian and may:
        apt = [*become_root, "apt-get", "-qq"]
        subprocess.run([*apt, "update"], check=True)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", "chromium"], check=True)
    else:
        with_libraries = ["--with-deps"] if may and shutil.which("apt-get") else []
        command = [sys.executable, "-m", "playwright", "install", *with_libraries, "chromium"]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    try:
        if find() is None:
            fetch()
    except subprocess.CalledProcessError as error:
        sys.exit(f"Chromium could not be installed ({error}). Install it by hand, then try again.")
    if find() is None:
        sys.exit("There is still no Chromium. Install it by hand, then run make test again.")
