"""Fails unless those of the targets that take a connection are the open ones (host:port, separated by commas)."""

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
open_ones = [target for target in sys.argv[2].split(",") if target]
with concurrent.futures.ThreadPoolExecutor(64) as pool:
    reached = [target for target, connected in zip(targets, pool.map(connects, targets)) if connected]
print(f"probed {len(targets)} targets, reached {len(reached)}: {' '.join(reached)}", flush=True)
sys.exit(0 if sorted(reached) == sorted(open_ones) else 1)
