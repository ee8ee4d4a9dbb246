"""The stack files that `make swarm-up` makes of Compose's model."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SECRETS = (
    ("secret_key", 0, 10001, 0o440),
    ("postgres_password", 999, 999, 0o440),
    ("web_password", 999, 10011, 0o440),
    ("migrate_password", 999, 10012, 0o440),
    (".web_login", 0, 0, 0o444),
)


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    """Return Compose's model of the demo with the default settings."""
    environment = {**os.environ, "HTTP_BIND": "0.0.0.0", "DRILL": "0", "COMPOSE_PROJECT_NAME": "m"}
    command = ["docker", "compose", "--env-file", "/dev/null", "config", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture
def swarm(load: Callable[[str], Any]) -> Any:
    return load("deploy/swarm/stack_file.py")


@pytest.fixture
def services(swarm: Any, model: dict[str, Any]) -> dict[str, Any]:
    """Return the demo's services as the stack files have them."""
    secrets = tuple(
        swarm.SecretFile(file, f"m_{file}_1", uid, gid, mode) for file, uid, gid, mode in SECRETS
    )
    found: dict[str, Any] = swarm.services_of(model, swarm.Context({"m-web": "m-web:7"}, secrets))
    return found


def service(**keys: Any) -> dict[str, Any]:
    return {"image": "x", **keys}


def test_every_key_of_our_own_services_is_translated(services: dict[str, Any]) -> None:
    assert set(services) == {
        *("db", "init", "mailhog", "migrate", "nginx", "roles", "watch", "web"),
    }
    for name, found in services.items():
        for rejected in ("mem_limit", "pids_limit", "dns_opt", "group_add", "tmpfs", "depends_on"):
            assert rejected not in found, name


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"privileged": True}, "services.x.privileged: "),
        ({"security_opt": ["seccomp:unconfined"]}, "services.x.security_opt: seccomp"),
        ({"network_mode": "host"}, "services.x.network_mode: 'host'"),
        ({"networks": {"n": {"ipv4_address": "1.2.3.4"}}}, "services.x.networks: ipv4_address"),
        ({"volumes": [{"type": "bind", "source": "/a", "target": "/b"}]}, "type bind"),
        ({"ports": [{"target": 1, "published": "1"}]}, "only nginx is published"),
        ({"tmpfs": ["/tmp:noexec"]}, "option noexec of /tmp"),
        ({"environment": {"A": None}}, "A has no value"),
        ({"restart": "sometimes"}, "'sometimes'"),
    ],
)
def test_a_key_without_counterpart_on_a_swarm_is_an_error_that_names_it(
    swarm: Any, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(swarm.UntranslatableError) as error:
        swarm.translate("x", service(**keys), swarm.Context({}))
    assert message in str(error.value)


def test_limits_and_temporary_folders_are_kept(services: dict[str, Any]) -> None:
    assert services["web"]["deploy"]["resources"]["limits"] == {
        "memory": str(512 << 20),
        "pids": 256,
    }
    assert {"type": "tmpfs", "target": "/tmp"} in services["web"]["volumes"]
    folders = {v["target"]: v.get("tmpfs") for v in services["db"]["volumes"]}
    assert folders["/dev/shm"] == {"size": 128 << 20}
    assert "/run/postgresql" in folders
    conf = {"type": "tmpfs", "target": "/etc/nginx/conf.d", "tmpfs": {"size": 1 << 20}}
    assert conf in services["nginx"]["volumes"]
    assert services["web"]["environment"]["RES_OPTIONS"] == "timeout:1 attempts:2"
    for name, found in services.items():
        assert found["read_only"], name
        assert found["cap_drop"] == ["ALL"], name


def test_each_service_gets_the_secrets_that_its_user_may_read(services: dict[str, Any]) -> None:
    readable = {
        name: {secret["target"] for secret in found.get("secrets", ())}
        for name, found in services.items()
    }
    assert readable["web"] == {"secret_key", "web_password", ".web_login"}
    assert readable["migrate"] == {"secret_key", "migrate_password", ".web_login"}
    assert readable["watch"] == {"secret_key", ".web_login"}
    assert "secret_key" not in readable["db"]
    assert readable["nginx"] == readable["mailhog"] == readable["init"] == set()
    assert services["web"]["secrets"][0] == {
        "source": "m_secret_key_1",
        "target": "secret_key",
        "uid": "10001",
        "gid": "10001",
        "mode": 0o400,
    }


def test_the_stages_follow_the_dependencies_and_watch_is_the_last(
    swarm: Any, model: dict[str, Any]
) -> None:
    order = [name for stage in swarm.stages(model["services"]) for name in stage]
    before = ["init", "db", "roles", "migrate", "web", "watch"]
    assert [name for name in order if name in before] == before
    with pytest.raises(swarm.UntranslatableError, match="a, b depend on each other"):
        swarm.stages({"a": {"depends_on": {"b": {}}}, "b": {"depends_on": {"a": {}}}})


def test_one_shot_services_are_jobs_and_init_prepares_every_node(services: dict[str, Any]) -> None:
    for name in ("migrate", "roles"):
        assert services[name]["deploy"]["mode"] == "replicated-job"
    init = services["init"]
    assert init["deploy"]["mode"] == "global-job"
    assert init["entrypoint"] + init["command"] == ["python3", "init.py", "volumes"]
    sources = {volume.get("source") for volume in init["volumes"]}
    assert sources == {None, "logs", "spool", "edge-log", "instance"}
    # An empty entrypoint replaces the image's in Compose. On a swarm it would run.
    assert services["roles"]["entrypoint"] == ["/opt/stack/roles"]
    assert "command" not in services["roles"]


def test_web_is_replaced_only_by_a_healthy_version(services: dict[str, Any]) -> None:
    update = services["web"]["deploy"]["update_config"]
    assert update["order"] == "start-first"
    assert update["failure_action"] == "rollback"
    assert services["web"]["healthcheck"]["test"][0] == "CMD"
    assert services["web"]["healthcheck"]["retries"] == 10
    assert services["web"]["image"] == "m-web:7"


def test_only_nginx_is_published_and_only_on_the_edge_nodes(services: dict[str, Any]) -> None:
    assert [name for name, found in services.items() if "ports" in found] == ["nginx"]
    assert services["nginx"]["ports"] == [
        {"target": 8080, "published": 8080, "protocol": "tcp", "mode": "host"}
    ]
    constraints = services["nginx"]["deploy"]["placement"]["constraints"]
    assert constraints == ["node.labels.mayday.m.edge==true"]
    assert services["watch"]["deploy"]["mode"] == "global"


def test_with_drills_the_site_is_published_on_one_node_only(
    swarm: Any, model: dict[str, Any]
) -> None:
    found = swarm.services_of(model, swarm.Context({}), "n1")["nginx"]["deploy"]["placement"]
    assert found["constraints"] == ["node.labels.mayday.m.edge==true", "node.id==n1"]


@pytest.mark.parametrize(("running", "wanted"), [("m-db:1@sha256:0", "old"), ("m-db:2", "new")])
def test_the_database_has_old_secrets_only_until_it_is_replaced(
    swarm: Any, tmp_path: Path, running: str, wanted: str
) -> None:
    volume = {"type": "volume", "source": "secrets", "target": "/run/secrets"}
    model = {"name": "m", "services": {"db": {"image": "db", "volumes": [volume]}}}
    new = {"file": "password", "docker_name": "new", "uid": 0, "gid": 0, "mode": 0o400}
    kept = {"db": {"image": running, "secrets": [{"source": "old"}]}}
    (tmp_path / "model").write_text(json.dumps(model))
    (tmp_path / "images").write_text('{"db": "m-db:1"}')
    (tmp_path / "secrets").write_text(json.dumps({"secrets": [new], "kept_secrets": kept}))
    assert swarm.main(tmp_path) == 0
    stack = json.loads((tmp_path / "1.json").read_text())
    assert [secret["source"] for secret in stack["services"]["db"]["secrets"]] == [wanted]


def test_networks_without_a_route_to_the_outside_stay_so(swarm: Any, model: dict[str, Any]) -> None:
    networks = swarm.networks_of(model)
    internal = [name for name in networks if networks[name].get("internal")]
    assert internal == ["back", "inner", "mail", "isolated"]
    assert networks["front"] == {}
    ipv6 = {"enable_ipv6": True, "ipam": {"config": [{"subnet": "fd00::/64"}]}}
    assert swarm.networks_of({"name": "m", "networks": {"n": ipv6}})["n"] == {}


def test_a_network_with_ipv6_has_ipv4_on_a_swarm(swarm: Any) -> None:
    network = {
        "name": "m_front",
        "enable_ipv6": True,
        "ipam": {"config": [{"subnet": "fd00::/64"}]},
    }
    found = swarm.networks_of({"name": "m", "networks": {"front-ipv6": network}})
    assert found["front-ipv6"] == {"name": "m_front"}


def test_a_models_own_placement_takes_precedence(swarm: Any) -> None:
    given = service(restart="always", deploy={"update_config": {"parallelism": 2}})
    found = swarm.place("web", swarm.translate("web", given, swarm.Context({})), "m")
    assert found["deploy"]["update_config"]["parallelism"] == 2
    assert found["deploy"]["update_config"]["order"] == "start-first"


def test_values_with_braces_are_not_templates(swarm: Any) -> None:
    given = service(environment={"A": "{{.Node.ID}} and {x}"})
    found = swarm.translate("x", given, swarm.Context({}))
    assert found["environment"]["A"] == '{{"{{"}}.Node.ID}} and {x}'


def test_an_empty_config_is_left_out_and_another_is_named_after_its_content(
    swarm: Any, tmp_path: Path
) -> None:
    authority = tmp_path / "ca.pem"
    model = {
        "name": "m",
        "services": {"acme": service(configs=[{"source": "ca"}])},
        "configs": {"ca": {"file": str(authority)}},
    }
    authority.write_text("")
    assert not swarm.services_of(model, swarm.Context({}))["acme"]["configs"]
    names = set()
    for content in ("one", "two"):
        authority.write_text(content)
        found = swarm.services_of(model, swarm.Context({}))
        common = {"networks": {}, "volumes": {}}
        names.add(swarm.with_resources(found, common, model)["configs"]["ca"]["name"])
    assert len(names) == 2


def archive(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, (content, mode) in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mode, info.gid = len(content), mode, 10001
            made.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_secrets_name_changes_with_its_content_and_fits(load: Callable[[str], Any]) -> None:
    secret_files = load("deploy/swarm/secret_files.py")

    def names(project: str, value: bytes) -> dict[str, str]:
        files = {"secret_key": (b"k" * 64, 0o440), "a": (value, 0o440), ".rotation": (b"", 0o600)}
        return {
            secret.file: secret.docker_name
            for secret, _ in secret_files.read_archive(project, archive(files))
        }

    assert set(names("m", b"1")) == {"secret_key", "a"}
    assert names("m", b"1") == names("m", b"1")
    assert names("m", b"1")["a"] != names("m", b"2")["a"]
    assert names("m", b"1")["secret_key"] == names("m", b"2")["secret_key"]
    assert all(len(name) <= 64 for name in names("p" * 60, b"1").values())


def test_a_part_of_the_model_without_counterpart_is_an_error_without_a_traceback(
    swarm: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = {"name": "m", "services": {"db": {"image": "db"}}, "models": {"llm": {}}}
    (tmp_path / "model").write_text(json.dumps(model))
    (tmp_path / "images").write_text("{}")
    (tmp_path / "secrets").write_text('{"secrets": [], "kept_secrets": {}}')
    assert swarm.main(tmp_path) == 1
    assert "error: models: no counterpart is known." in capsys.readouterr().err
