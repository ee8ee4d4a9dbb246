"""The pipeline of a process that has no app: its settings come from the environment."""

from __future__ import annotations

import os

from ..redaction.config import secrets_of_config
from ..redaction.redactor import Redactor
from ..settings import Settings, read_settings
from . import registry
from .pipeline import Pipeline


def settings_of_environment() -> Settings:
    """Return the settings in the environment, for the app that ``FLASK_APP`` names.

    Raises :exc:`flask_mayday.settings.ConfigurationError`.
    """
    module = os.environ.get("FLASK_APP", "").partition(":")[0].strip().removesuffix(".py")
    return read_settings(import_name=module.replace("/", ".") or "app")


def start_pipeline(settings: Settings) -> Pipeline:
    """Log and report from now on; return the pipeline, which the caller must keep alive."""
    secrets = [*settings.secret_values, *secrets_of_config({}, os.environ)]
    pipeline = Pipeline(settings, Redactor(secrets, settings.secret_names))
    registry.register(pipeline)
    registry.lower_root_level(settings.log.level)
    return pipeline
