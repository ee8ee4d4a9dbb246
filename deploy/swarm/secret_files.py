"""Makes Docker secrets of the files in the volume ``secrets``, which the service init has prepared.

Usage: ``secret_files.py PROJECT`` prints the files as JSON, for stack_file.py, and the secrets that
the running database has. ``secret_files.py PROJECT archive`` prints the volume as a tar. The
contents go from a container to the engine through memory only.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Collection
from dataclasses import asdict, dataclass

LABEL = "microblog.stack.project"
KEY = "secret_key"  # the file that the names of the secrets are derived with
LONGEST_NAME = 64  # characters
# Prints the volume as a tar archive.
READ = "import sys, tarfile; tarfile.open(fileobj=sys.stdout.buffer, mode='w|').add('/volume', '.')"


@dataclass(frozen=True)
class SecretFile:
    """A file of the volume, with its owner and its mode, and the Docker secret made of it."""

    file: str
    docker_name: str
    uid: int
    gid: int
    mode: int

    def is_readable_by(self, uid: int, gids: Collection[int]) -> bool:
        """Return whether a user with these groups may read the file."""
        if uid == self.uid:
            return bool(self.mode & 0o400)
        return bool(self.mode & (0o040 if self.gid in gids else 0o004))


def main(project: str) -> int:
    """Create the missing secrets and print all of them.

    The database needs its secrets only when it is made, and would be restarted for new ones. So it
    keeps those that it has as long as its image stays the same.
    """
    secrets = read_archive(project, read_volume(project))
    present = set(names_of(project))
    for secret, content in secrets:
        if secret.docker_name not in present:
            create(project, secret, content)
    kept = {"db": found} if (found := references_of(f"{project}_db")) else {}
    print(json.dumps({"secrets": [asdict(one) for one, _ in secrets], "kept_secrets": kept}))
    return 0


def read_volume(project: str) -> bytes:
    """Return the volume's files as a tar archive."""
    command = ["docker", "run", "--rm", "--network", "none", "--user", "0", "--read-only"]
    command += ["--cap-drop", "ALL", "--cap-add", "DAC_READ_SEARCH", "--log-driver", "none"]
    command += ["--volume", f"{project}_secrets:/volume:ro", "--entrypoint", "python3"]
    return run(*command, f"{project}-init", "-c", READ)


def read_archive(project: str, archive: bytes) -> list[tuple[SecretFile, bytes]]:
    """Return each file that a service may read, and its content."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        for member in files.getmembers():
            # Those for root only are the programs' own, such as the plan of a rotation.
            if member.isfile() and member.mode & 0o077:
                content = files.extractfile(member)
                assert content is not None
                found[member.name.removeprefix("./")] = (member, content.read())
    key = found[KEY][1]
    return [
        (
            SecretFile(
                name, docker_name(project, name, content, key), info.uid, info.gid, info.mode
            ),
            content,
        )
        for name, (info, content) in sorted(found.items())
    ]


def docker_name(project: str, file: str, content: bytes, key: bytes) -> str:
    """Return a secret's name, which changes with its content: a Docker secret cannot be changed.

    The content cannot be guessed from the name without ``key``.
    """
    version = hmac.digest(key, content, hashlib.sha256).hex()[:8]
    name = f"{project}_{file}_{version}"
    if len(name) > LONGEST_NAME:
        short = hashlib.sha256(project.encode()).hexdigest()[:8]
        name = f"{short}_{file}_{version}"
    return name


def create(project: str, secret: SecretFile, content: bytes) -> None:
    """Create a Docker secret. It cannot be empty, so an empty file becomes an empty line."""
    label = f"{LABEL}={project}"
    run(
        "docker",
        "secret",
        "create",
        "--label",
        label,
        secret.docker_name,
        "-",
        stdin=content or b"\n",
    )


def names_of(project: str) -> list[str]:
    """Return the names of the project's Docker secrets."""
    listing = ["docker", "secret", "ls", "--filter", f"label={LABEL}={project}"]
    return run(*listing, "--format", "{{.Name}}").decode().split()


def references_of(service: str) -> dict[str, object]:
    """Return a running service's image, and its secrets as a stack file has them.

    The result is empty if it does not run or has no secrets.
    """
    inspect = ["docker", "service", "inspect", service]
    done = subprocess.run(inspect, capture_output=True, check=False)
    if done.returncode:
        return {}
    container = json.loads(done.stdout)[0]["Spec"]["TaskTemplate"]["ContainerSpec"]
    secrets = [
        {
            "source": secret["SecretName"],
            "target": secret["File"]["Name"],
            "uid": secret["File"]["UID"],
            "gid": secret["File"]["GID"],
            "mode": secret["File"]["Mode"],
        }
        for secret in container.get("Secrets", ())
    ]
    return {"image": container["Image"], "secrets": secrets} if secrets else {}


def run(*command: str, stdin: bytes = b"") -> bytes:
    """Run a command and return its output; exit with its error message if it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"error: {' '.join(command[:3])}: {done.stderr.decode().strip()}")
    return done.stdout


if __name__ == "__main__":
    if sys.argv[2:] == ["archive"]:
        sys.stdout.buffer.write(read_volume(sys.argv[1]))
    else:
        sys.exit(main(sys.argv[1]))
