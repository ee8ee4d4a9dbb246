"""A plain Flask app with the tutorial's error handling: SMTPHandler and RotatingFileHandler.

Set up as in chapter 7 of the Flask Mega-Tutorial and run under gunicorn as in chapter 17. Without
``MAIL_SERVER`` it mails nothing and serves as the control.
"""

from __future__ import annotations

import logging
import os
from logging.handlers import RotatingFileHandler, SMTPHandler

from flask import Flask, render_template_string

PAGE = "<!doctype html><title>{{ title }}</title><h1>{{ title }}</h1><p>{{ text }}</p>"

app = Flask(__name__)

if os.environ.get("MAIL_SERVER"):
    mail_handler = SMTPHandler(
        mailhost=(os.environ["MAIL_SERVER"], int(os.environ["MAIL_PORT"])),
        fromaddr="no-reply@" + os.environ["MAIL_SERVER"],
        toaddrs=["admin@example.com"],
        subject="Microblog Failure",
    )
    mail_handler.setLevel(logging.ERROR)
    app.logger.addHandler(mail_handler)

file_handler = RotatingFileHandler(
    os.environ["LOG_DIR"] + "/microblog.log", maxBytes=10240, backupCount=10
)
file_handler.setFormatter(
    logging.Formatter("%(asctime)s %(levelname)s: %(message)s [in %(pathname)s:%(lineno)d]")
)
file_handler.setLevel(logging.INFO)
app.logger.addHandler(file_handler)
app.logger.setLevel(logging.INFO)
app.logger.info("Microblog startup")


@app.errorhandler(500)
def internal_error(error: Exception) -> tuple[str, int]:
    text = "The administrator has been notified. Sorry for the inconvenience!"
    return render_template_string(PAGE, title="An unexpected error has occurred", text=text), 500


@app.get("/login")
def login() -> str:
    return render_template_string(PAGE, title="Sign In", text="")


@app.post("/drill/exception")
def fail() -> str:
    raise RuntimeError("This error was ordered")
