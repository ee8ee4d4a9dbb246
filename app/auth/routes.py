"""The pages for registration, login, logout and a new password."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user

from .. import accounts
from ..database import db
from ..models import User
from ..passwords import TooManyLoginsError, check_password
from .clients import limits_of, remember_device
from .forms import ChangePasswordForm, LoginForm, LogoutForm, RegistrationForm
from .login import log_in, log_out, log_out_everywhere, login_required, set_password
from .throttle import count_login, undo_count

blueprint = Blueprint("auth", __name__)
logger = logging.getLogger(__name__)


@blueprint.route("/register", methods=["GET", "POST"])
def register() -> ResponseReturnValue:
    """Create an account."""
    if current_user.is_authenticated:
        return redirect(url_for("main.index"))
    form = RegistrationForm()
    if form.validate_on_submit():
        user = User(username=form.username.data, email=form.email.data)
        user.set_password(form.password.data)
        db.session.add(user)
        if accounts.commit(form):
            logger.info("User %d has registered", user.id)
            flash("Congratulations, you are now a registered user!")
            return redirect(url_for("auth.login"))
    return render_template("register.html", form=form), form.status


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> ResponseReturnValue:
    """Log in, then redirect to the page that required it."""
    if current_user.is_authenticated:
        return redirect(url_for("main.index"))
    form = LoginForm()
    if form.validate_on_submit():
        user_id = _check(form.username.data, form.password.data)
        if user_id is not None and (user := db.session.get(User, user_id)) is not None:
            log_in(user, remember=form.remember_me.data)
            logger.info("User %d has logged in", user.id)
            return remember_device(redirect(_next_path()), user.id)
        form.form_errors.append("Invalid username or password.")
    return render_template("login.html", form=form), form.status


def _check(username: str, password: str, purpose: str = "Login") -> int | None:
    """Return the user's id, or ``None`` for a wrong password; answer 429 to too many attempts.

    ``purpose`` is what the log says has failed.
    """
    account = accounts.credentials(username)
    attempt = count_login(limits_of(username, account.user_id))
    try:
        stored = check_password(password, account.password_hash, with_old=account.any_old_hash)
    except TooManyLoginsError:
        undo_count(attempt, is_right=False)
        raise
    if stored is None:
        # Without the typed name: people type their password there.
        known = account.user_id is not None
        logger.warning(
            "%s failed for %s",
            purpose,
            f"user {account.user_id}" if known else "an unknown name",
        )
        return None
    undo_count(attempt, is_right=True)
    if stored != account.password_hash:
        accounts.renew_hash(account, stored)
    return account.user_id


@blueprint.route("/change_password", methods=["GET", "POST"])
@login_required
def change_password() -> ResponseReturnValue:
    """Change the user's password, which ends the user's logins in other browsers."""
    form = ChangePasswordForm()
    if form.validate_on_submit():
        password = form.current_password.data
        if _check(current_user.username, password, "Password change") is not None:
            set_password(form.password.data)
            logger.info("User %d has changed their password", current_user.id)
            flash("Your password has been changed. You are logged out in all other browsers.")
            return redirect(url_for("main.edit_profile"))
        form.set_error("current_password", "This is not your current password.")
    return render_template("change_password.html", form=form), form.status


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    return _end_login(log_out)


@blueprint.post("/logout_everywhere")
def logout_everywhere() -> ResponseReturnValue:
    """Log out in all browsers."""
    return _end_login(log_out_everywhere)


def _end_login(end: Callable[[], None]) -> ResponseReturnValue:
    valid = LogoutForm().validate_on_submit()
    if not current_user.is_authenticated:
        return redirect(url_for("main.index"))
    if valid:
        end()
    else:
        flash("That page had expired. Please log out again.")
    return redirect(url_for("main.index"))


def _next_path() -> str:
    """Return the path in ``?next=``, or the home page if it could lead to another site.

    Two slashes at the start name another host. Browsers read a backslash as a slash and drop
    tabs and line ends, so the path may contain none of these.
    """
    path = request.args.get("next", "")
    return path if re.fullmatch(r"/(?!/)[!-\[\]-~]*", path) else url_for("main.index")
