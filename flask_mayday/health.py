"""Health: does this process serve (live), and can it serve a visitor now (ready)."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify, request
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.database import db

from .courier.courier import Courier
from .pages.error_pages import REPORTED

blueprint = Blueprint("health", __name__, url_prefix="/health")


@blueprint.get("/live")
def live() -> Response:
    """Answer as long as this process can; the container's health check asks.

    That error mails are stuck, or that the spool takes no reports, is told here too: it is told
    where no mail is needed, but a restart would not mend it.
    """
    courier: Courier | None = current_app.extensions["courier"]
    return jsonify(status="ok", **({} if courier is None else courier.state()))


@blueprint.get("/ready")
def ready() -> Response:
    """Answer 200 when the database answers too, else 503."""
    try:
        db.session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        db.session.rollback()
        # A probe's answer is a state, not an error: the requests that suffer are reported.
        request.environ[REPORTED] = True
        response = jsonify(status="unavailable", database=type(error).__name__)
        response.status_code = 503
        return response
    return jsonify(status="ok", database="ok")
