"""The pages of the blog: home, timeline, profiles."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from flask import Blueprint, abort, flash, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy import update

from .. import accounts, side_effects
from ..auth.login import login_required
from ..database import db
from ..models import Post, User, now
from . import timeline
from .avatar import avatar
from .forms import EditProfileForm, PostForm
from .times import ago, day, exact

LAST_SEEN_INTERVAL: Final = timedelta(minutes=1)  # a write per page would cost more than the page

blueprint = Blueprint("main", __name__)
blueprint.add_app_template_filter(ago)
blueprint.add_app_template_filter(avatar)
blueprint.add_app_template_filter(day)
blueprint.add_app_template_filter(exact)
logger = logging.getLogger(__name__)


@blueprint.before_request
def note_last_seen() -> None:
    """Update ``last_seen`` of the user, at most once a minute."""
    before = now() - LAST_SEEN_INTERVAL
    if current_user.is_authenticated and current_user.last_seen < before:
        # Repeat the condition, so that only one of several concurrent requests writes.
        seen = update(User).where(User.id == current_user.id, User.last_seen < before)
        side_effects.write(seen.values(last_seen=now()))


@blueprint.get("/")
def index() -> str:
    """Show everybody's posts to a logged-in user, and a welcome page to other visitors."""
    if not current_user.is_authenticated:
        return render_template("welcome.html")
    return _home(PostForm())


@blueprint.post("/")
@login_required
def write_post() -> ResponseReturnValue:
    """Publish a post."""
    form = PostForm()
    if form.validate_on_submit():
        db.session.add(Post(body=form.post.data, user_id=current_user.id))
        db.session.commit()
        flash("Your post is now live!")
        return redirect(url_for("main.index"))
    return _home(form), form.status


def _home(form: PostForm) -> str:
    return render_template("index.html", form=form, timeline=timeline.read())


@blueprint.get("/explore")
def explore() -> str:
    """Show everybody's posts; no login is needed."""
    return render_template("explore.html", timeline=timeline.read())


@blueprint.get("/user/<username>")
def user(username: str) -> str:
    """Show a user's profile and posts."""
    author = accounts.by_name(username) or abort(404)
    return render_template("user.html", user=author, timeline=timeline.read(author))


@blueprint.route("/edit_profile", methods=["GET", "POST"])
@login_required
def edit_profile() -> ResponseReturnValue:
    """Change the user's name and description."""
    form = EditProfileForm(obj=current_user)
    if form.validate_on_submit():
        former = current_user.username
        current_user.username = form.username.data
        current_user.about_me = form.about_me.data
        if accounts.commit(form):
            if former != current_user.username:
                logger.info(
                    "User %d changed their name from %s to %s",
                    current_user.id,
                    former,
                    current_user.username,
                )
            flash("Your changes have been saved.")
            return redirect(url_for("main.edit_profile"))
    return render_template("edit_profile.html", form=form), form.status
