"""The `dlcore` command, also `python -m dlcore`."""

import os

try:
    from dlcore.cli import interrupts
except KeyboardInterrupt:  # in the milliseconds before a handler is set
    os.write(2, b"dlcore: interrupted\n")
    os._exit(130)


def main() -> None:
    """Run the command line as this whole process, and end the process."""

    def command() -> None:
        from dlcore.cli import main

        main.main()

    interrupts.run_process(command)


if __name__ == "__main__":
    main()
