"""Every setting of an installation, its default, and one line of explanation.

Change a value here for all hosts, or set it for one host or group in inventory.py or in
group_data/GROUP.py; `pyinfra --data name=value` wins for one run. No secrets belong here: they
are made on the host. docs/settings.md lists types and limits. (In brackets: the name in the
`.env` of the reference configuration.)
"""

# --- Public address ------------------------------------------------------------------------
public_url = "https://127.0.0.1:8000"  # what browsers and integrators use, without a path
base_url = "/"  # path below public_url, e.g. "/jupyter" behind a reverse proxy
public_bind = "0.0.0.0"  # host address the proxy listens on; 127.0.0.1 behind a local web server
public_bind_ipv6 = None  # host's IPv6 address the proxy listens on too, e.g. "::"
public_port = 8000  # host port the proxy listens on
public_sources = []  # networks that reach the public port; none named: all do
api_sources = []  # networks that reach the hub's API at public_url; none named: all do
trusted_proxies = []  # web servers in front whose X-Forwarded-For is believed, e.g. network_gateway
access_control_origins = []  # origins that may embed sessions [ACCESS_CONTROL_ORIGINS]

# --- Integrators ---------------------------------------------------------------------------
service_admins = ["service-admin"]  # services with an API token each [JPY_SERVICE_ADMINS]

# --- Network -------------------------------------------------------------------------------
network_name = "jupyterhub_network"  # Docker network of services and sessions [DOCKER_NETWORK_NAME]
network_bridge = "br-jhub"  # its bridge on the host, at most 15 characters
network_subnet = "172.27.0.0/16"  # addresses of the network
network_gateway = "172.27.0.1"  # the host's own address in it
session_range = "172.27.128.0/17"  # part of the subnet that sessions get their addresses from
hub_ip = "172.27.0.2"  # static address of the hub
database_ip = "172.27.0.3"  # static address of the database
proxy_ip = "172.27.0.4"  # static address of the proxy
client_networks = []  # networks your users come from; the subnet must not overlap them
backends = []  # addresses of others' containers on the network that may reach hub and sessions
service_outbound = []  # of "hub", "proxy", "database": which may reach the internet

# --- Sessions ------------------------------------------------------------------------------
notebook_image = None  # image of sessions; None: the one built here [DOCKER_NOTEBOOK_IMAGE]
notebook_profile = "full"  # what the one built here holds: "full", seven kernels; "slim", Python
session_memory_mb = 1024  # memory of a session, its home included
session_home_mb = 256  # size of a session's home directory (in memory)
session_cpus = 1.0  # CPUs a session may use
session_pids = 256  # processes and threads a session may have
session_outbound = []  # what sessions reach: "198.51.100.0/24:443", "name=198.51.100.7:80,443"
max_sessions = 50  # sessions at the same time; count your memory
session_start_timeout_seconds = 60  # a session that does not serve by then has failed
max_starts = 8  # sessions that start at the same time; others wait, as long as a start may take
max_waiting_starts = 100  # starts that may wait; one more is answered with 429
memory_headroom_mb = 512  # memory of the host that new sessions leave free; else 429
cull_idle_seconds = 1800  # a session without activity for so long is deleted
cull_max_age_seconds = 28800  # a session older than this is deleted
activity_seconds = 60  # how often a session reports its activity
ended_text_en = None  # what people read where a session has ended; None: our own words
ended_text_de = None  # the same in German
ended_link = None  # where that page leads back to, e.g. "https://lms.example.org"

# --- Archive -------------------------------------------------------------------------------
archive = False  # keep the files of sessions that end, for the integrators to fetch
archive_keep_days = 30  # so long
archive_max_mb = 64  # so much of a session's home; what people see before what tools hide
archive_total_mb = 10240  # so much of all sessions on the host's disk; the oldest go first

# --- Backup --------------------------------------------------------------------------------
backup_recipients = []  # public keys that can read backups: age1…, ssh-ed25519 …; none: no backups
backup_folder = "/var/lib/integrable-jupyterhub/backup"  # where they lie on the host
backup_every_hours = 24  # one every so many hours, counted from 3 o'clock
backup_keep = 14  # so many; the oldest go

# --- TLS -----------------------------------------------------------------------------------
tls_key_file = None  # private key, e.g. "files/ssl/hub.key"; None: self-signed [SSL_KEY_FILE]
tls_certificate_file = None  # its certificate, PEM [SSL_CRT_FILE]
tls_ca_file = None  # intermediate certificates, PEM [SSL_CA_FILE]
tls_managed_on_host = False  # the host renews its certificate (certbot): deploys leave it alone

# --- Services ------------------------------------------------------------------------------
database_name = "jupyterhub"  # [POSTGRES_DB]
database_user = "jupyterhub"  # [POSTGRES_USER]
hub_memory_mb = 1024  # memory of the hub
database_memory_mb = 512  # memory of the database
proxy_memory_mb = 512  # memory of the proxy
publish_hub = None  # host address to publish the hub's port 8081 on; None: not at all
publish_proxy_api = None  # the same for the proxy's API, port 8001
publish_database = None  # the same for the database, port 5432
debug = False  # debug logging of hub, proxy and sessions
log_days = 7  # how long lines of the services' logs are kept

# --- Images --------------------------------------------------------------------------------
images_epoch = 1  # raised by `make refresh-images`: rebuild everything with Debian's fixes
releases_kept = 5  # good releases that `make rollback` can go back to, with their images
base_image = None  # a registry's Debian 13 image to build on; None: made from Debian's archive
debian_mirror = "http://deb.debian.org/debian"  # mirrors for builds: Debian's archive
debian_security_mirror = "http://deb.debian.org/debian-security"  # Debian's security updates
pypi_index = "https://pypi.org/simple"  # Python packages
npm_registry = "https://registry.npmjs.org"  # Node.js packages
extra_ca_certificates = []  # PEM files for builds behind a proxy that inspects TLS

# --- Host ----------------------------------------------------------------------------------
allow_untested_os = False  # try something else than Debian 12 or 13 on amd64
