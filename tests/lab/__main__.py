"""python -m tests.lab up NAME | down NAME | down --tests | shell [NAME] | list | refresh.

up takes --driver container|vm and --debian 12|13.
"""

import argparse
import os
import sys

from tests.lab import engine, image, labs, vm
from tests.lab.errors import LabError
from tests.lab.host import Host, ssh_command


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="Test hosts.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="make a lab, or start the one that is there")
    up.add_argument("name")
    up.add_argument("--driver", choices=labs.DRIVERS)
    up.add_argument("--debian", type=int, choices=image.SUITES)
    down = verbs.add_parser("down", help="remove a lab, its disks and its folder")
    down.add_argument("name", nargs="?")
    down.add_argument("--tests", action="store_true", help="all test labs of this clone")
    shell = verbs.add_parser("shell", help="open a root shell in a lab")
    shell.add_argument("name", nargs="?", default="demo")
    verbs.add_parser("list", help="all labs on this machine")
    verbs.add_parser("refresh", help="make lab images again, with Debian's current packages")
    options = parser.parse_args()

    match options.verb:
        case "up":
            labs.up(options.name, driver=options.driver, debian=options.debian)
        case "down" if options.tests:
            labs.down_tests()
        case "down" if options.name:
            labs.down(options.name)
        case "down":
            raise LabError("down: name a lab, or say --tests")
        case "shell":
            call = ssh_command(Host.read(options.name).ssh_config, (), "-t")
            os.execvp(call[0], call)
        case "list":
            for machine in labs.machines():
                state = "running" if machine.running else "stopped"
                print(
                    f"{machine.name:<24} Debian {machine.debian}  {machine.driver:<9}  {state}"
                    f"  {machine.root}"
                )
        case "refresh":
            vm.forget_bases()
            if engine.answers():  # without an engine there is no image to refresh
                image.ensure(image.wanted_debian() or labs.DEFAULT_DEBIAN, refresh=True)


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"lab: {error}")
