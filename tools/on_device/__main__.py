"""Command `scripts/on_device`: run the parts that are not done, and write the JSON file and the pages."""

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from on_device.document import NAME, JsonObject, read_json
from on_device.page import write_html, write_markdown
from on_device.plan import BUDGET_S, PARTS
from on_device.runner import Visit, run


def main() -> None:
    """Run a visit, or list its parts, or write the pages of an earlier one."""
    parser = argparse.ArgumentParser(prog="scripts/on_device", description=__doc__)
    names = [part.name for part in PARTS]
    parser.add_argument("--device", default="gpu", choices=("gpu", "cpu", "auto"), help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("runs/on_device"), help="folder (default: %(default)s)")
    parser.add_argument(
        "--budget", type=float, default=BUDGET_S, help="seconds of this call (default: %(default)s)"
    )
    parser.add_argument("--small", action="store_true", help="rehearse at small sizes; the figures mean nothing")
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", choices=names, help=", ".join(names))
    parser.add_argument("--again", action="store_true", help="also run parts that did not succeed")
    parser.add_argument("--list", action="store_true", help="print the parts and their estimates")
    parser.add_argument("--pages", action="store_true", help="only write the pages of the JSON file in the folder")
    options = parser.parse_args()
    folder = options.out.absolute()
    if options.list:
        list_parts()
        return
    if options.pages:
        if not (folder / NAME).exists():
            parser.error(f"--pages: there is no {folder / NAME}")
        document = read_json(folder / NAME)
        write_markdown(document, folder)
        write_html(document, folder)
        return
    pages_written = []

    def finished(document: JsonObject, name: str) -> None:
        print(describe_record(name, document["parts"][name]), flush=True)
        pages_written.append(_try_to_write(write_markdown, document, folder))

    visit = Visit(folder, options.device, options.small, options.budget, options.only, options.again)
    try:
        is_complete = run(PARTS, visit, finished)
    except ValueError as error:
        parser.error(str(error))
    if (folder / NAME).exists():
        pages_written.append(_try_to_write(write_html, read_json(folder / NAME), folder))
    print(f"{'all parts passed' if is_complete else 'not all parts passed'}; results in {folder}")
    sys.exit(not (is_complete and all(pages_written)))


def _try_to_write(write: Callable[[JsonObject, Path], None], document: JsonObject, folder: Path) -> bool:
    """Write a page and return whether it worked; its failure must not end the visit."""
    try:
        write(document, folder)
    except Exception:
        traceback.print_exc()
        return False
    return True


def list_parts() -> None:
    """Print the parts in their order, with the estimates and their running sum."""
    elapsed = 0.0
    for part in PARTS:
        elapsed += part.estimate
        print(f"{part.name:16} {part.estimate:5.0f} s {elapsed:5.0f} s  {part.question}")
    print(f"estimated on an H200: {elapsed:.0f} s; the budget is {BUDGET_S:.0f} s")


def describe_record(name: str, record: JsonObject) -> str:
    """Return one line about a part that has ended."""
    verdict = {False: ", NOT PASSED", True: ", passed"}.get(record["result"].get("passed"), "")
    estimate = f"(estimated {record['estimate_s']:.0f} s)"
    line = f"{name:16} {record['seconds']:6.1f} s {estimate}  {record['status']}{verdict}"
    return f"{line}: {record['error']}" if record["error"] else line


if __name__ == "__main__":
    main()
