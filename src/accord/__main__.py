"""`accord`, and `python -m accord`: heard before anything is imported that takes a while."""

from accord import signals


def main() -> None:
    """Run the command line."""
    signals.install()
    from accord.study.provenance import command

    signals.install(command)
    from accord.cli import main as run

    run()


if __name__ == "__main__":
    main()
