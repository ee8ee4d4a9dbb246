"""Names the images of the stack so that each version has a name of its own, and pushes them.

Usage: ``image_names.py [running]``, with the output of ``docker compose config --format json`` on
stdin and RELEASE and REGISTRY in the environment. Prints the new name of each image by its name in
the model, as JSON; with ``running``, the names of the images that run already. A swarm replaces the
containers of a service only when the name of its image changes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from placement import OMITTED_SERVICES
from translation import Keys

DIGITS = 12  # of an image's id


def main() -> int:
    """Tag every image, push it if there is a registry, and print the names."""
    model = json.load(sys.stdin)
    if sys.argv[1:] == ["running"]:
        print(json.dumps(running_images(model)))
        return 0
    release, registry = os.environ.get("RELEASE", ""), os.environ.get("REGISTRY", "")
    names = {}
    for image in images_of(model):
        identifier = docker("image", "inspect", "--format", "{{.Id}}", image)
        if identifier is None:
            continue  # a public image that is not here yet: each node pulls it
        of_app = image == model["services"]["web"]["image"]
        name = versioned(image, identifier, model["name"], release if of_app else "", registry)
        if docker("image", "tag", image, name) is None:
            sys.exit(f"error: {image} cannot be tagged {name}. Check RELEASE and REGISTRY.")
        if registry and docker("image", "push", "--quiet", name) is None:
            sys.exit(
                f"error: {name} cannot be pushed. Check REGISTRY={registry}, and docker login."
            )
        names[image] = name
    print(json.dumps(names))
    return 0


def running_images(model: Keys) -> dict[str, str]:
    """Return, for each image in the model, the image that the services on the swarm run.

    What is built here may be a version that the swarm has refused.
    """
    template = "{{.Spec.TaskTemplate.ContainerSpec.Image}}"
    found = {}
    # Jobs first: they may have run in the refused version.
    for name, service in sorted(model["services"].items(), key=lambda pair: not is_job(pair[1])):
        if image := docker("service", "inspect", "--format", template, f"{model['name']}_{name}"):
            found[service["image"]] = image
    return found


def is_job(service: Keys) -> bool:
    """Return whether a service of the model ends by itself."""
    return bool(service.get("restart") == "no")


def images_of(model: Keys) -> list[str]:
    """Return the images of the services that run on the swarm."""
    services = model["services"].items()
    return sorted({service["image"] for name, service in services if name not in OMITTED_SERVICES})


def versioned(image: str, identifier: str, project: str, release: str, registry: str) -> str:
    """Return an image's name on the swarm: with its id, and the app's with the release too.

    Without a registry, an engine looks up an unknown name on Docker Hub, where anybody may own a
    name that contains a slash. So a name without a registry has no slash.
    """
    repository = image.rpartition("/")[2].partition(":")[0]
    if not repository.startswith(f"{project}-"):
        repository = f"{project}-{repository}"
    tag = identifier.removeprefix("sha256:")[:DIGITS]
    if release:
        tag = re.sub(r"[^A-Za-z0-9_.-]", "-", release)[:64].lstrip(".-") + f"-{tag}"
    return f"{registry.rstrip('/')}/{repository}:{tag}" if registry else f"{repository}:{tag}"


def docker(*arguments: str) -> str | None:
    """Return the output of a docker command, or ``None`` if it fails."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode else done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
