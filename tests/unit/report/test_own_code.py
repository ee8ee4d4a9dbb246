"""The files that count as the app's own code, wherever the app is installed."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from flask_mayday.report.own_code import OwnCode

SITE = "/srv/venv/lib/python3.13/site-packages"


def is_own(root: str, path: str, module: str = "", others: tuple[str, ...] = ()) -> bool:
    return OwnCode(root, others).locate(path, module).own


def test_a_file_below_the_root_is_own_and_shown_from_the_roots_name_on() -> None:
    location = OwnCode("/srv/shop").locate("/srv/shop/blog/views.py", "shop.blog.views")
    assert (location.shown, location.own) == ("shop/blog/views.py", True)
    assert location.stable == "blog/views.py"


@pytest.mark.parametrize("root", ["/srv/shop", "/srv/shop/"])
def test_a_folder_whose_name_begins_with_that_of_the_root_is_not_own(root: str) -> None:
    assert not is_own(root, "/srv/shop2/views.py")
    assert is_own(root, "/srv/shop/views.py")


@pytest.mark.parametrize(
    "folder", [".venv/lib/x", "venv/lib/x", "env/lib/python3.13/site-packages/x", "node_modules/x"]
)
def test_environments_below_the_root_of_a_single_file_app_are_not_own(folder: str) -> None:
    assert is_own("/home/me/shop", "/home/me/shop/app.py", "app")
    assert not is_own("/home/me/shop", f"/home/me/shop/{folder}/x.py", "x")


def test_an_interpreter_below_the_root_is_not_own(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(sys.prefix).parent.parent)
    assert not is_own(root, f"{sys.prefix}/lib/x.py")
    assert not is_own("/", sysconfig.get_path("stdlib") + "/json/decoder.py", "json.decoder")
    assert is_own("/", "/app.py", "app")


def test_an_app_that_is_installed_in_site_packages_has_own_code() -> None:
    location = OwnCode(f"{SITE}/httpbin").locate(f"{SITE}/httpbin/core.py", "httpbin.core")
    assert (location.shown, location.own) == ("httpbin/core.py", True)
    assert not is_own(f"{SITE}/httpbin", f"{SITE}/flask/app.py", "flask.app")


def test_an_app_that_is_one_installed_module_owns_only_that_module() -> None:
    assert is_own(SITE, f"{SITE}/shop.py", "shop")
    assert not is_own(SITE, f"{SITE}/flask/app.py", "flask.app")


def test_our_frames_are_not_own_except_the_drills() -> None:
    assert not is_own("/srv", "/srv/flask_mayday/pages/middleware.py", "flask_mayday.pages.x")
    for folder in ("/srv", SITE):
        path = f"{folder}/flask_mayday/drill/routes.py"
        location = OwnCode("/srv/app").locate(path, "flask_mayday.drill.routes")
        assert (location.shown, location.own) == ("flask_mayday/drill/routes.py", True)


def test_an_app_whose_name_begins_with_ours_is_own() -> None:
    assert is_own("/srv/flask_mayday_shop", "/srv/flask_mayday_shop/a.py", "flask_mayday_shop.a")


def test_more_folders_and_packages_can_be_named() -> None:
    others = ("/srv/lib/", "../plugins", "shared")
    for path, module in (
        ("/srv/lib/tools.py", "tools"),
        ("/srv/plugins/one.py", "one"),
        (f"{SITE}/shared/db.py", "shared.db"),
        (f"{SITE}/shared/__init__.py", "shared"),
    ):
        assert is_own("/srv/shop", path, module, others)
        assert not is_own("/srv/shop", path, module)
    assert not is_own("/srv/shop", f"{SITE}/shared2/db.py", "shared2.db", others)


def test_libraries_are_shown_without_the_folder_in_which_they_are_installed() -> None:
    own_code = OwnCode("/srv/shop")
    assert own_code.locate(f"{SITE}/flask/app.py", "flask.app").shown == "flask/app.py"
    decoder = sysconfig.get_path("stdlib") + "/json/decoder.py"
    assert own_code.locate(decoder, "json.decoder").shown == "json/decoder.py"
    assert own_code.locate("<string>", "shop").shown == "<string>"
    assert not own_code.locate("<string>", "shop").own


def test_without_an_app_nothing_is_own() -> None:
    assert not is_own("", f"{os.getcwd()}/views.py", "views")


def test_a_relative_path_starts_at_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_own(os.getcwd(), "app.py", "__main__")
