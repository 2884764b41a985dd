"""The console command. Ctrl-C ends it without a traceback, also during its imports."""

from __future__ import annotations

import sys

from simclr_med.runs.signals import exit_on_interrupt


def main() -> None:
    """Run the command of sys.argv and exit with its code."""
    exit_on_interrupt()
    # Imported late: a Ctrl-C during these imports would be a traceback.
    from simclr_med.cli.main import run_command

    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
