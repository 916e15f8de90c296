"""
The service `smhdr serve`, which does the work: finding it, starting it, asking it. docs/service.md is the protocol.
Nothing here knows GIMP.
"""

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

PROTOCOL = 1
START_SECONDS = 30
"""A strip or an answer that takes longer than this, in seconds, will not come."""
PATIENCE = 120

HOW_TO_START = (
    "smhdr is not running, and the command smhdr was not found. Start it in a terminal with:  smhdr serve  "
    "(in a clone: node dist/cli/smhdr.js serve), leave it running and try again."
)
GONE = (
    "The smhdr service ended in the middle of the work. Your image was not changed. Start it again with:  smhdr serve  "
    "and try again."
)


class ServiceError(Exception):
    """What went wrong, for people. `code` is the protocol's, or UNREACHABLE."""

    def __init__(self, message, code="UNREACHABLE"):
        super().__init__(message)
        self.code = code


class Wrong(Exception):
    """A setting that makes no sense; the message names it and what was expected."""


class Cancelled(Exception):
    """A person stopped the work."""


def start_files(environment=os.environ, platform=sys.platform):
    """Where a running service may say its port and token."""
    home = os.path.expanduser("~")
    if environment.get("SMHDR_SERVICE_FILE"):
        return [environment["SMHDR_SERVICE_FILE"]]
    if platform == "win32":
        folders = [environment.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")]
    elif platform == "darwin":
        folders = [os.path.join(home, "Library", "Application Support")]
    else:
        # A GIMP in a Flatpak has an XDG_STATE_HOME of its own; the service writes to its user's.
        folders = [environment.get("XDG_STATE_HOME"), os.path.join(home, ".local", "state")]
    return [os.path.join(folder, "smhdr", "service.json") for folder in folders if folder]


def find():
    """The running service, or None: no start file, a stale one, or nobody answers to its port and token."""
    for path in start_files():
        service = _find_by(path)
        if service:
            return service
    return None


def _find_by(path):
    try:
        with open(path, encoding="utf-8") as file:
            told = json.load(file)
        service = Service(int(told["port"]), str(told["token"]), told.get("pid"))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        status = service.ask("GET", "/v1/status", patience=5)
    except ServiceError as error:
        service.close()
        if error.code in ("UNREACHABLE", "UNAUTHORIZED", "NOT_FOUND"):
            return None
        raise
    if status.get("protocol") != PROTOCOL:
        raise ServiceError(
            f"This plug-in speaks version {PROTOCOL} of smhdr's protocol, the running service (smhdr {status.get('version')}) "
            f"version {status.get('protocol')}. Install the plug-in and smhdr of the same release."
        )
    service.version = status.get("version", "")
    return service


def command(environment=os.environ, platform=sys.platform):
    """
    The command that starts smhdr as a list, or None. SMHDR_COMMAND overrides it; else it is looked for in PATH and where npm
    puts commands, since a GIMP started from a desktop has a short PATH.
    """
    if environment.get("SMHDR_COMMAND"):
        return shlex.split(environment["SMHDR_COMMAND"], posix=platform != "win32")
    home = os.path.expanduser("~")
    if platform == "win32":
        folders = [os.path.join(environment.get("APPDATA", home), "npm")]
    else:
        folders = ["/usr/local/bin", "/opt/homebrew/bin", f"{home}/.local/bin", f"{home}/.npm-global/bin"]
        versions = f"{home}/.nvm/versions/node"
        if os.path.isdir(versions):
            folders += [f"{versions}/{name}/bin" for name in sorted(os.listdir(versions), reverse=True)]
    path = os.pathsep.join([environment.get("PATH", ""), *folders])
    found = shutil.which("smhdr", path=path)
    return [found] if found else None


def find_or_start(cancelled=lambda: False):
    """
    The running service; where there is none it is started and belongs to us (`Service.stop_if_ours`).
    Raises ServiceError that says how to start it, or why it did not start.
    """
    service = find()
    if service:
        return service
    program = command()
    if not program:
        raise ServiceError(HOW_TO_START)
    with tempfile.TemporaryFile() as said:
        environment = dict(os.environ)
        if os.path.dirname(program[0]):  # npm's command asks for `node`, which often lies beside it
            environment["PATH"] = os.pathsep.join([os.path.dirname(program[0]), environment.get("PATH", "")])
        hidden = {"creationflags": subprocess.CREATE_NO_WINDOW} if sys.platform == "win32" else {"start_new_session": True}
        try:
            process = subprocess.Popen(
                [*program, "serve"], stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, **hidden
            )
        except OSError as error:
            raise ServiceError(f"{shlex.join(program)} serve could not be started: {error.strerror or error}.") from error
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            service = find()
            if service:
                service.process = process
                return service
            if process.poll() is not None:
                break
            if cancelled():
                process.terminate()
                raise Cancelled()
            time.sleep(0.05)
        if process.poll() is None:
            process.terminate()
        said.seek(0)
        reason = said.read().decode("utf-8", "replace").strip() or "it said nothing and is not there"
        raise ServiceError(f"{shlex.join(program)} serve did not start: {reason[-600:]}")


class Service:
    """One running service. Not for several threads: each takes a `copy`."""

    def __init__(self, port, token, pid=None):
        self.port, self.token, self.pid = port, token, pid
        self.version = ""
        self.process = None
        self._connection = None

    def copy(self):
        return Service(self.port, self.token, self.pid)

    def ask(self, method, path, body=None, patience=PATIENCE):
        """A request with a JSON body, or none; the JSON of its answer, or None. Raises ServiceError."""
        sent = None if body is None else json.dumps(body).encode()
        answer = self.exchange(method, path, sent, "application/json", patience)
        try:
            return json.loads(answer) if answer else None
        except ValueError as error:
            raise ServiceError(f"Port {self.port} answered something that smhdr does not say.") from error

    def exchange(self, method, path, body=None, kind="application/octet-stream", patience=PATIENCE):
        """A request with a body of bytes, or none; the bytes of its answer. Raises ServiceError."""
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = kind
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=patience)
            if self._connection.sock:
                self._connection.sock.settimeout(patience)
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServiceError(GONE) from error
        if answer.will_close:
            self.close()
        if answer.status >= 400:
            raise _refusal(answer.status, data)
        return data

    def close(self):
        if self._connection:
            self._connection.close()
            self._connection = None

    def stop_if_ours(self):
        """Ends a service that `find_or_start` started."""
        self.close()
        if not self.process:
            return
        try:
            # On Windows the process that we started is a shell around the service.
            os.kill(self.pid if sys.platform == "win32" and self.pid else self.process.pid, signal.SIGTERM)
            self.process.wait(10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
        self.process = None


def _refusal(status, data):
    try:
        error = json.loads(data)["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, message = "INTERNAL", f"The smhdr service answered with status {status}."
    if status == 401:
        message = (
            "The smhdr service does not accept this plug-in's token: it was started again, or by another user. Try again; if "
            "that does not help, end it and start it with:  smhdr serve"
        )
    return ServiceError(message, code)


class Job:
    """One merge at the service; a context that deletes it at its end."""

    def __init__(self, service, **fields):
        self.service = service
        self.id = service.ask("POST", "/v1/jobs", fields)["id"]
        self.path = "/v1/jobs/" + urllib.parse.quote(self.id, safe="")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.service.ask("DELETE", self.path, patience=10)
        except ServiceError:
            pass  # it is gone, or will expire

    def put_rows(self, exposure, row, rows, data, service=None):
        (service or self.service).exchange("PUT", f"{self.path}/exposures/{exposure}?row={row}&rows={rows}", data)

    def exposure_values(self):
        return self.service.ask("GET", self.path + "/exposure-values")

    def merge(self):
        return self.service.ask("POST", self.path + "/merge")

    def state(self):
        return self.service.ask("GET", self.path)

    def result_rows(self, row, rows):
        """float32 linear RGB, interleaved; 1.0 is where the reference clips."""
        return self.service.exchange("GET", f"{self.path}/result?format=rows&white=reference&row={row}&rows={rows}")
