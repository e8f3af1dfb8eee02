"""`python -m crewd` is the daemon, the same as the `crewd` command."""


def main() -> None:
    """The program `crewd`. What it needs is imported only here: its guardian, a process of its own, imports this module too."""
    from crewd.supervisor.program import main as run

    run()


if __name__ == "__main__":
    main()
