"""A worker that starts as a fresh interpreter (`start: spawn`): `python -m crewd.worker BOOTSTRAP`."""

import sys
from pathlib import Path

from crewd.worker.host import host_main, take_bootstrap

if __name__ == "__main__":
    sys.exit(host_main(take_bootstrap(Path(sys.argv[1]))))
