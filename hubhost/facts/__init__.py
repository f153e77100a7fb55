"""Facts: what is on a host. Each is one round trip, changes nothing, and works on a bare host."""

from hubhost.facts.backups import BackupFolder, NewestBackup, RestoreTarget
from hubhost.facts.credentials import Certificate, Secrets, ServedCertificate, ServiceTokens, serves
from hubhost.facts.debian import REBOOT_DUE, Boot, MissingPackages, RebootDue, Unheld, Updates
from hubhost.facts.docker import DOCKER_ROOT, DockerNetwork, Engine, EngineIsStale, VolumeAge
from hubhost.facts.files import Content, Files, Folders, Unit
from hubhost.facts.images import MissingImages, OurImages
from hubhost.facts.isolation import GUARD_STATE, FirewallState, Listens
from hubhost.facts.overview import Collected, Evidence, Host, Status
from hubhost.facts.releases import Releases
from hubhost.facts.removal import DaemonBefore, Kept, Lost, Migration, Noted, Ours
from hubhost.facts.services import SESSIONS, Container, Drain, NotServing, Sessions
