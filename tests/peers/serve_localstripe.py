"""A fake of Stripe's billing on the port that the first argument names, until its stdin ends."""

import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / ".tools" / "python"))

from localstripe import resources, server  # noqa: E402

# It keeps what it holds in one file for all of a machine's.
resources.store.dump_to_disk = lambda: None


def end_with_stdin():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_stdin, daemon=True).start()
sys.argv = ["localstripe", "--port", sys.argv[1], "--from-scratch"]
server.start()
