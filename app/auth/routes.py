"""The pages for registration, login and logout."""

from __future__ import annotations

import logging
import re

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user, login_user, logout_user

from .. import accounts
from ..database import db
from ..models import User
from .forms import LoginForm, LogoutForm, RegistrationForm

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
    """Log in, then redirect to the page that asked for the login."""
    if current_user.is_authenticated:
        return redirect(url_for("main.index"))
    form = LoginForm()
    if form.validate_on_submit():
        user = accounts.by_name(form.username.data)
        if user is not None and user.check_password(form.password.data):
            login_user(user, remember=form.remember_me.data)
            logger.info("User %d has logged in", user.id)
            return redirect(_next_path())
        # Without the typed name: people type their password there.
        logger.warning("Login failed for %s", f"user {user.id}" if user else "an unknown name")
        form.form_errors.append("Invalid username or password.")
    return render_template("login.html", form=form), form.status


@blueprint.post("/logout")
def logout() -> ResponseReturnValue:
    """Log out."""
    if LogoutForm().validate_on_submit():
        logout_user()
    elif current_user.is_authenticated:
        flash("That page was open for too long. Please log out again.")
    return redirect(url_for("main.index"))


def _next_path() -> str:
    """Return the path in ``?next=``, or the home page if it could lead to another site.

    Two slashes at the start name another host. Browsers read a backslash as a slash and drop
    tabs and line ends, so the path may contain none of these.
    """
    path = request.args.get("next", "")
    return path if re.fullmatch(r"/(?!/)[!-\[\]-~]*", path) else url_for("main.index")
