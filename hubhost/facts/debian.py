"""Facts of Debian's packages, and of the kernel that runs."""

from __future__ import annotations

from pyinfra.api.facts import FactBase
from typing_extensions import override

from hubhost.engine import HELD_PACKAGES
from hubhost.facts.base import Lines, quoted
from hubhost.paths import BEFORE

REBOOT_DUE = r"""
[ -e /run/reboot-required ] && echo "Debian wants it"
running=$(uname -r)
# Of the same flavour (-amd64, -rt-amd64 …): of two, one never runs.
newest=$(printf '%s\n' /boot/vmlinuz-* "/boot/vmlinuz-$running" | awk -v running="$running" '
  function flavour(of) { sub(/^[^-]*(-[0-9][^-]*)?/, "", of); return of }
  { sub(".*/vmlinuz-", "") } flavour($0) == flavour(running)' | sort -V | tail -n 1)
[ "$newest" = "$running" ] || [ ! -e "/boot/vmlinuz-$newest" ] \
  || echo "$newest is installed, $running runs"
# A fixed kernel often has the name of the one before; its version tells.
version=$(dpkg-query -Wf '${Version}' "linux-image-$running" 2>/dev/null)
[ -z "$version" ] || uname -v | grep -qF "$version" || echo "linux-image-$running is $version now"
true
"""
"""Shell: why a reboot is due, a line each."""


class MissingPackages(Lines):
    """Which of some Debian packages are not installed."""

    @override
    def command(self, packages: tuple[str, ...]) -> str:
        return f"""
for package in {quoted(packages)}; do
  [ "$(dpkg-query -Wf '${{db:Status-Status}}' "$package" 2>/dev/null)" = installed ] \\
    || echo "$package"
done
true
"""


class Unheld(Lines):
    """The engine's packages that are installed and not held."""

    @override
    def command(self) -> str:
        return f"""
held=$(apt-mark showhold 2>/dev/null)
for package in {" ".join(HELD_PACKAGES)}; do
  [ "$(dpkg-query -Wf '${{db:Status-Status}}' $package 2>/dev/null)" = installed ] || continue
  printf '%s\n' "$held" | grep -qx $package || echo $package
done
true
"""


class Updates(Lines):
    """Packages of the host that `make patch` would update, by the lists of the archive it has.

    Those that an update before has left half done are among them.
    """

    @override
    def command(self) -> str:
        # (-qq would mean -y, with which apt says no word of what is held.)
        return f"""
{{
  apt-get -qs full-upgrade
  held=$(cat {BEFORE}/held 2>/dev/null)
  [ -z "$held" ] || apt-get -qs --ignore-hold --only-upgrade install $held
}} 2>/dev/null | sed -nE 's/^(Inst|Conf) ([^ ]*).*/\\2/p' | sort -u
"""


class RebootDue(Lines):
    """Why the host should reboot, a line each."""

    @override
    def command(self) -> str:
        return REBOOT_DUE


class Boot(FactBase[str]):
    """Another after each boot; PID 1's start tells of that of a system container."""

    default = str

    @override
    def command(self) -> str:
        return "cat /proc/sys/kernel/random/boot_id; awk '{ print $22 }' /proc/1/stat"

    @override
    def process(self, output: list[str]) -> str:
        return " ".join(output)
