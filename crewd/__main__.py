"""`python -m crewd` is the daemon, the same as the `crewd` command."""

from crewd.supervisor.program import main

if __name__ == "__main__":
    main()
