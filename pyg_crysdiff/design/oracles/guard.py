"""A script that starts a program and ends it, with all that it started, when its input ends.

The input is a pipe that whoever started this script holds open. So no program goes on alone,
however its master ends. Nothing of the package is imported: it starts in milliseconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def _end_with_input(process: "subprocess.Popen[bytes]") -> None:
    while sys.stdin.buffer.read(1):
        pass
    if os.name == "posix":
        os.killpg(0, signal.SIGKILL)  # this script leads a group of its own
    with contextlib.suppress(OSError):
        words = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(words, capture_output=True, check=False)
    os._exit(1)


def main() -> None:
    """Run the program of the command line; end with its exit status, 128 + N for signal N."""
    try:
        process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(127)
    threading.Thread(target=_end_with_input, args=(process,), daemon=True).start()
    code = process.wait()
    sys.stderr.flush()
    os._exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
