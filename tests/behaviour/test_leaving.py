"""`make uninstall` leaves a host as it was; before that, `make patch`. On a host of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.deployment import Deployment, Run, give_images
from tests.lab import Host, engine, lab
from tests.lab.demo import hub_of
from tests.reboots import public_port_of, rebooting

# A line each. Left out is what any `apt install` and `apt purge` leaves, too: lists of the archive,
# logs, caches, dpkg's and debconf's notes, stamps of timers, copies of /etc/group; and Docker's
# data, which is a place of its own in a lab: that it is empty is asked apart.
SNAPSHOT = r"""
sleep 1
dpkg-query -Wf 'package ${Package} ${Version} ${db:Status-Status}\n' | grep -v 'config-files$'
apt-mark showmanual | sed 's/^/manual /'; apt-mark showhold | sed 's/^/hold /'
getent passwd | sed 's/^/passwd /'; getent group | sed 's/^/group /'
systemctl list-unit-files --no-legend --plain | awk '{ print "unit", $1, $2 }'
ls /sys/class/net | grep -v '^veth' | sed 's/^/link /'
sysctl -n net.ipv4.ip_forward 2>/dev/null | sed 's/^/ip_forward /'
# (127.0.0.11 is the resolver of the lab's own Docker, as /etc/hosts is its.)
rules() {
    { iptables-save; ip6tables-save; } 2>/dev/null \
        | grep -v '127.0.0.11\|DOCKER_OUTPUT\|DOCKER_POSTROUTING'
}
rules | sed '/^[#:]/d; s/^/rule /'; rules | sed -n 's/^:\([^ ]* [^ ]*\).*/chain \1/p'
nft list tables 2>/dev/null
docker ps -a --format 'container {{.Names}} {{.Image}} {{.State}}' 2>/dev/null
docker network ls --format 'network {{.Name}}' 2>/dev/null
docker volume ls --format 'volume {{.Name}}' 2>/dev/null
docker image ls --format 'image {{.Repository}}:{{.Tag}} {{.ID}}' 2>/dev/null
docker info --format 'live-restore {{.LiveRestoreEnabled}}' 2>/dev/null
find /etc /opt /root /srv /usr/local /var/lib /var/spool \( -path /var/lib/apt \
    -o -path /var/lib/dpkg -o -path /var/lib/docker -o -path /var/lib/containerd \
    -o -path /var/lib/systemd -o -path /var/lib/ucf -o -path /etc/ld.so.cache \
    -o -path /etc/mtab -o -path "/etc/*-" -o -path /etc/hosts \
    -o -path /root/.docker/buildx/refs \) -prune \
    -o -type f -exec sha256sum {} + -o -printf '%y %m %u %g %p %l\n' | sed 's/^/file /'
"""
# Somebody's Docker, with a configuration, a container, a volume and an image: made of nothing but
# a program of the host's.
OTHERS = r"""
set -e
mkdir -p /etc/docker; printf '{"live-restore": true, "debug": false}' > /etc/docker/daemon.json
export DEBIAN_FRONTEND=noninteractive
apt-get -qq install --no-install-recommends -y docker.io docker-cli docker-buildx nftables \
    >/dev/null
tar -ch /usr/bin/sleep /lib64/ld-linux-x86-64.so.2 /lib/x86_64-linux-gnu/libc.so.6 \
    2>/dev/null | docker import - others/app:1 >/dev/null
docker volume create others >/dev/null
docker run --init --detach --restart always --name others \
    --volume others:/data others/app:1 /usr/bin/sleep 1d >/dev/null
systemctl restart docker
"""
# A repository of one package, whose update wants leave; that stands for a failure half way. It is
# held as the engine's packages are.
REPOSITORY = r"""
set -e
mkdir -p /root/repository; cd /root/repository
pack() {
    rm -rf p; mkdir -p p/DEBIAN
    printf 'Package: patched\nVersion: %s\nArchitecture: all\n' "$1" > p/DEBIAN/control
    printf 'Maintainer: T <t@example.org>\nDescription: a package\n' >> p/DEBIAN/control
    printf '#!/bin/sh\n[ "%s" = 1 ] || [ -e /root/leave ]\n' "$1" > p/DEBIAN/postinst
    chmod 755 p/DEBIAN/postinst
    dpkg-deb --build --root-owner-group p patched.deb >/dev/null
}
pack 1; dpkg -i patched.deb >/dev/null
pack 2
{ dpkg-deb -f patched.deb; echo "Filename: ./patched.deb"; echo "Size: $(stat -c %s patched.deb)"
  echo "SHA256: $(sha256sum patched.deb | cut -d' ' -f1)"; } > Packages
echo 'deb [trusted=yes] file:/root/repository ./' > /etc/apt/sources.list.d/patched.list
apt-mark hold patched >/dev/null; echo patched >> /var/lib/integrable-jupyterhub/before/held
touch /run/reboot-required
"""
NO_REPOSITORY = """
apt-mark unhold patched; dpkg --purge patched
sed -i '/^patched$/d' /var/lib/integrable-jupyterhub/before/held
rm -rf /root/repository /root/leave /etc/apt/sources.list.d/patched.list
"""


def snapshot(host: Host) -> set[str]:
    return set(host.sh(SNAPSHOT, timeout=120).splitlines())


def difference(before: set[str], after: set[str]) -> str:
    """Lines that are gone, and that came."""
    gone = sorted(f"- {line}" for line in before - after)
    return "\n".join([*gone, *sorted(f"+ {line}" for line in after - before)])


@pytest.fixture(scope="module")
def bare() -> Iterator[Host]:
    """A host that never saw Docker."""
    with lab() as made:
        made.sh("apt-get -qq update", timeout=120)
        yield made


@pytest.fixture(scope="module")
def others(host: Host, first_run: Run, bare: Host) -> tuple[Host, set[str]]:
    """The same later: somebody has Docker there, and then a hub was deployed; what was there."""
    bare.sh(OTHERS, timeout=300)
    before = snapshot(bare)
    give_images(host, bare)
    Deployment(bare).run()
    return bare, before


def test_what_half_a_deployment_made_goes_and_docker_with_it(bare: Host) -> None:
    before = snapshot(bare)
    deployment = Deployment(bare)
    deployment.run(script="tests/half_deploy.py")
    assert "JHUB-USER" in bare.sh("iptables -S")
    told = deployment.run("--dry", script="ops/uninstall.py").output
    assert "network jupyterhub_network" in told
    assert "iptables" in bare.sh("apt-mark showmanual"), "a dry run removes nothing"
    deployment.runbook("make uninstall")
    assert difference(before, snapshot(bare)) == ""
    assert bare.sh("ls -A /var/lib/docker") == ""
    # No program was there that could have told of rules.
    bare.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq install -y nftables >/dev/null; :")
    rules = bare.sh("nft list ruleset")
    bare.sh("DEBIAN_FRONTEND=noninteractive apt-get -qq autopurge -y nftables >/dev/null")
    assert rules == ""
    assert deployment.run(script="ops/uninstall.py").changed == []


def test_a_patch_that_fails_half_way_stays_drained_and_goes_on_when_run_again(
    others: tuple[Host, set[str]],
) -> None:
    host, _ = others
    with rebooting(host) as relayed:
        deployment, hub = Deployment(relayed), hub_of(relayed)[1]
        name = f"patched{secrets.randbelow(10**9)}"
        hub.create_user(name)
        hub.start_server(name)
        relayed.sh(REPOSITORY)
        # The wanted failure shall be the first: not a mirror that is just being synced.
        lists = ("apt-get", "-qq", "update")
        assert engine.until(lambda: not relayed.run(*lists, check=False).returncode, 300)
        line = "make patch DEADLINE=MINUTES IMAGES=keep"
        failed = deployment.runbook(line, MINUTES="0")
        assert failed.exit_code
        assert "patch: not finished. A host that was drained stays so" in failed.output
        assert "error processing package patched" in failed.output, failed.output
        assert relayed.sh("docker ps -q --filter label=integrable-jupyterhub.role=session") == ""
        late = f"late{secrets.randbelow(10**9)}"
        hub.create_user(late)
        assert hub.call("POST", f"/users/{late}/server").status_code == 503

        relayed.sh("touch /root/leave")
        done = deployment.runbook(line, MINUTES="0")
        assert done.exit_code == 0, done.output
        assert relayed.sh("dpkg-query -Wf '${Version}' patched") == "2"
        assert {"patched", "docker.io", "runc"} <= set(relayed.sh("apt-mark showhold").split())
        assert relayed.run("test", "-e", "/run/reboot-required", check=False).returncode
        again = hub_of(public_port_of(relayed))[1]
        again.create_user(name)
        again.start_server(name)
        # Nothing is left to do: nobody is bothered.
        assert set(deployment.run(script="ops/patch.py").changed) == {
            "Fetch the lists of Debian's archive",
            "Try what a session reaches",
        }
        assert again.attach(name, again.mint_token(name)).run("6*7").value == "42"
        relayed.sh(NO_REPOSITORY)


def test_what_others_have_in_the_same_docker_stays_and_backups_do(
    others: tuple[Host, set[str]],
) -> None:
    _, before = others
    host = Host.read(others[0].name)
    started = host.sh("docker inspect -f '{{.State.StartedAt}}' others")
    backups = "/var/lib/integrable-jupyterhub/backup"
    host.sh(f"mkdir -p {backups}; echo kept > {backups}/a")
    Deployment(host).runbook("make uninstall")
    assert host.sh(f"cat {backups}/a") == "kept"
    Deployment(host).runbook("make uninstall KEEP_BACKUPS=no")
    assert difference(before, snapshot(host)) == ""
    assert host.sh("docker inspect -f '{{.State.StartedAt}}' others") == started
