"""Fails when any of the targets (host:port, separated by commas) takes a connection."""

import concurrent.futures
import socket
import sys


def connects(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
        return True
    except OSError:
        return False


targets = sys.argv[1].split(",")
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    reached = [target for target, connected in zip(targets, pool.map(connects, targets)) if connected]
print(f"probed {len(targets)} targets, reached {len(reached)}: {' '.join(reached)}", flush=True)
sys.exit(1 if reached else 0)
