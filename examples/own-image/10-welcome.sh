# Sourced before the server starts; the server and its kernels see what it exports.
export WELCOME="hello, ${JUPYTERHUB_USER:-you}"
