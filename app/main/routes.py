"""The pages of the blog."""

from __future__ import annotations

from flask import Blueprint, current_app, render_template

blueprint = Blueprint("main", __name__)


@blueprint.get("/")
def index() -> str:
    """Show the home page."""
    return render_template("index.html", drill=current_app.extensions["settings"].drill)
