"""Where `crew` begins: it imports next to nothing before it can hear Ctrl-C.

Tests: tests/client/cli/test_verbs.py.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the verb that the command line names, and exit."""
    try:
        from crewd.client.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
