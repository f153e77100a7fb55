"""A worker to test the kernels' base with: it does what a cell's first word says."""

import os
import signal
import sys
import time

ANSWERS = os.fdopen(int(os.environ["KERNEL_OUT"]), "wb", buffering=0)


def receive() -> tuple[str, str]:
    raw = b""
    while (byte := os.read(int(os.environ["KERNEL_IN"]), 1)) != b"\0":
        if not byte:
            sys.exit()
        raw += byte
    kind, _, body = raw.decode().partition("\n")
    return kind, body


def send(kind: str, body: str = "") -> None:
    sys.stdout.flush()
    ANSWERS.write(f"{kind}\n{body}\0".encode())


def cell(code: str) -> None:  # noqa: C901  (a list)
    word, _, rest = code.partition(" ")
    if word == "print":
        print(rest)
    elif word == "both":
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
    elif word == "lines":
        print("\n".join(map(str, range(int(rest)))))
    elif word == "bytes":
        for byte in bytes.fromhex(rest):
            os.write(1, bytes([byte]))
            time.sleep(0.001)
    elif word == "value":
        send("result", rest)
    elif word == "show":
        send("display", f"text/html\nid\n{rest}")
    elif word == "ask":
        send("input")
        kind, line = receive()
        print(f"{kind}: {line}")
    elif word == "exit":
        print("last words", flush=True)
        sys.exit(int(rest))
    elif word == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif word == "hang":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("hangs", flush=True)
        time.sleep(60)
    elif word == "sleep":
        print("sleeps", flush=True)
        time.sleep(60)
    elif word == "child":  # a process that keeps the pipes open
        if not os.fork():
            os.setpgid(0, 0)
            time.sleep(float(rest))
            os._exit(0)
        os._exit(0)
    elif word == "fail":
        raise RuntimeError(rest)


send("ready")
while True:
    kind, body = receive()
    if kind == "complete":
        send("matches", f"0\n2\n{body.partition(chr(10))[2]}a\nb")
        continue
    try:
        cell(body.partition("\n")[2])
    except RuntimeError as failed:
        send("error", f"RuntimeError\n{failed}\nfirst line\nsecond line")
    except KeyboardInterrupt:
        send("error", "KeyboardInterrupt\n")
    else:
        send("ok")
