"""
Deletes a job when the plug-in dies without doing so: GIMP's own Cancel button kills a plug-in outright, and its pixels would
lie in the service until they expire. The plug-in starts this file as a process, writes port, token, job and, if it started the
service, its process to the standard input, and a last line "done" when nothing is left to do.
"""

import json
import os
import signal
import subprocess
import sys
import urllib.request


def start(service, job):
    """Watches over `job` until `stop` is called with what this returns; None where no process can be started."""
    hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {"start_new_session": True}
    try:
        guard = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **hidden
        )
        guard.stdin.write(json.dumps([service.port, service.token, job.path, service.pid if service.process else None]).encode() + b"\n")
        guard.stdin.flush()
        return guard
    except OSError:
        return None


def stop(guard):
    if guard:
        try:
            guard.communicate(b"done\n", timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            guard.kill()


def main():
    port, token, path, pid = json.loads(sys.stdin.readline())
    if sys.stdin.readline() == "done\n":
        return
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", method="DELETE", headers={"Authorization": f"Bearer {token}"}
    )
    try:
        # No proxies, whatever the environment says.
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10)
    finally:
        if pid:
            os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    main()
